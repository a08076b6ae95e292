package daemon

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/gorilla/mux"

	"orch/internal/identity"
	"orch/internal/snapshot"
	"orch/manager"
	"orch/manager/api"
)

const (
	// phraseHeader carries the passphrase, in base64: a body would be kept, and a path logged.
	phraseHeader = "Orch-Passphrase"
	// maxBackup bounds a file that is restored; 100,000 tasks are about a twentieth of it.
	maxBackup = 1 << 30
	// minPhrase is what a passphrase must have at least: it is all that keeps the cluster's secrets.
	minPhrase = 8
)

var (
	errNotManager = errdefs.ErrUnavailable.WithMessage("this node is no manager that runs: a backup is taken on one")
	errPhrase     = errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("a backup opens every secret of the cluster: seal it with a passphrase of at least %d characters, or with the unlock key", minPhrase))
	errRuns       = errdefs.ErrUnavailable.WithMessage("this node is in a cluster that runs: `orch leave --force` first, if it is to go back to a backup")
)

// addBackup adds what Docker's API has no call for.
func (d *Daemon) addBackup(r *mux.Router) {
	r.Path("/orch/backup").Methods(http.MethodPost).HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		phrase, err := phraseOf(r)
		if err == nil {
			var file []byte
			if file, err = d.Backup(phrase); err == nil {
				w.Header().Set("Content-Type", "application/octet-stream")
				_, _ = w.Write(file)
				return
			}
		}
		api.WriteError(w, err)
	})
	r.Path("/orch/restore").Methods(http.MethodPost).HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		phrase, err := phraseOf(r)
		var file []byte
		if err == nil && r.URL.Query().Get("snapshot") == "" {
			if file, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBackup)); err == nil && len(file) == 0 {
				err = errdefs.ErrInvalidArgument.WithMessage("the backup is empty")
			}
		}
		if err == nil {
			err = d.Restore(r.Context(), file, phrase, r.URL.Query().Get("advertise"))
		}
		if err != nil {
			api.WriteError(w, err)
		}
	})
}

func phraseOf(r *http.Request) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(r.Header.Get(phraseHeader))
	if err != nil {
		return "", errdefs.ErrInvalidArgument.WithMessage("the header " + phraseHeader + " is not base64")
	}
	return string(raw), nil
}

// Backup is the cluster as it is now, in a file that opens with phrase, a passphrase or the unlock key.
func (d *Daemon) Backup(phrase string) ([]byte, error) {
	if len(phrase) < minPhrase {
		return nil, errPhrase
	}
	d.change.Lock()
	n := d.node
	d.change.Unlock()
	if n == nil || n.manager.Load() == nil {
		return nil, errNotManager
	}
	snap, err := n.manager.Load().Backup()
	if err != nil {
		return nil, err
	}
	b := &snapshot.Backup{}
	if b.State, err = snap.Pack(); err != nil {
		return nil, err
	}
	m := n.m.Load()
	if b.Membership, err = json.Marshal(m); err != nil {
		return nil, err
	}
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if b.CA, err = os.ReadFile(d.files.path(caFile)); err != nil {
		return nil, err
	}
	if b.Node, err = d.files.read(n.c.box, nodeFile, nodeUse); err != nil {
		return nil, err
	}
	b.Seal = n.c.seal.Bytes()
	file, err := b.Sealed(m.ClusterID, phrase, time.Now())
	if err == nil {
		d.log.Info("a backup was taken", "sequence", snap.Seq)
	}
	return file, err
}

// past is what a node is to go back to.
type past struct {
	m    membership
	c    *credentials
	pair []byte // certificate and key, PEM
	snap *snapshot.Snapshot
}

// Restore makes the node the one manager of a cluster of before: of a backup's, or, if file is nil, of
// the newest copy that this manager kept itself. advertise is another address than that of then.
func (d *Daemon) Restore(ctx context.Context, file []byte, phrase, advertise string) error {
	d.change.Lock()
	defer d.change.Unlock()
	if d.idle != nil || d.node != nil && d.node.broken.Load() == nil {
		return errRuns
	}
	p, err := d.past(file, phrase)
	if err != nil {
		return errdefs.ErrInvalidArgument.WithMessage(err.Error())
	}
	if advertise != "" {
		addr, err := address(advertise, defaultPort)
		if err != nil {
			return errdefs.ErrInvalidArgument.WithMessage(err.Error())
		}
		p.m.AdvertiseAddr, p.m.DataPathAddr = addr.String(), addr.Addr().String()
	}
	if err := d.checkEngine(ctx); err != nil {
		return err
	}
	before := d.node
	if before != nil {
		before.stop()
		d.node = nil
	}
	if err := d.goBack(ctx, p); err != nil {
		if before != nil {
			err = errors.Join(err, d.resumeLocked(ctx))
		}
		return err
	}
	d.log.Warn("the cluster was restored", "cluster", p.m.ClusterID, "to", p.snap.Taken)
	return nil
}

func (d *Daemon) past(file []byte, phrase string) (*past, error) {
	if file == nil {
		return d.ownPast()
	}
	b, err := snapshot.OpenBackup(file, phrase)
	if err != nil {
		return nil, err
	}
	p := &past{c: &credentials{renew: make(chan struct{}, 1), box: newStrongbox(d.files)}, pair: b.Node}
	if err := json.Unmarshal(b.Membership, &p.m); err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	if d.node != nil && d.node.m.Load().ClusterID != p.m.ClusterID {
		return nil, errors.New("the backup is of another cluster than the one that this node is in: `orch leave --force` first")
	}
	if p.c.ca, err = identity.ParseCA(b.CA, nil); err != nil {
		return nil, err
	}
	if p.c.node, err = identity.NewNode(p.c.ca, b.Node, b.Node); err != nil {
		return nil, err
	}
	if p.c.seal, err = identity.KeyFromBytes(b.Seal); err != nil {
		return nil, err
	}
	p.snap, err = snapshot.Unpack(b.State)
	return p, err
}

// ownPast is the newest copy that a damaged manager kept itself.
func (d *Daemon) ownPast() (*past, error) {
	if d.node == nil {
		return nil, errors.New("this node is in no cluster and has no snapshot of its own: give a backup's file")
	}
	p := &past{m: *d.node.m.Load(), c: d.node.c}
	snap, damaged, err := snapshot.Shelf{Dir: d.files.path(snapshotDir), Key: p.c.seal}.Newest()
	if err != nil {
		return nil, err
	}
	if snap == nil {
		return nil, fmt.Errorf("this manager has no snapshot that can be read (%d cannot): give a backup's file", len(damaged))
	}
	p.snap = snap
	p.pair, err = d.files.read(p.c.box, nodeFile, nodeUse)
	return p, err
}

// goBack founds the cluster again with what it was. What is left of the damaged state is moved aside.
func (d *Daemon) goBack(ctx context.Context, p *past) error {
	if _, err := os.Stat(d.stateDir()); err == nil {
		aside := d.stateDir() + ".damaged-" + time.Now().UTC().Format("20060102T150405")
		if err := os.Rename(d.stateDir(), aside); err != nil {
			return fmt.Errorf("move the damaged state aside: %w", err)
		}
		d.log.Warn("what is left of the damaged state was moved aside", "to", aside)
	}
	m := p.m
	m.Manager, m.Server, m.Managers = true, identity.NewID(), []string{m.AdvertiseAddr}
	n, err := d.start(ctx, &m, p.c, managing{founding: &manager.Founding{Restore: p.snap, Addr: m.AdvertiseAddr}})
	if err != nil {
		return err
	}
	if err := d.files.save(&m, p.c, p.pair, nil); err != nil {
		n.stop()
		return err
	}
	d.enter(n)
	return nil
}
