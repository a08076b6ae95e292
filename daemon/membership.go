package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/identity"
	"orch/manager"
)

// Swarm's words for calls that do not fit the node's state.
// Source: moby, daemon/cluster/errors.go.
var (
	errMember    = errdefs.ErrUnavailable.WithMessage(`This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.`)
	errNoMember  = errdefs.ErrUnavailable.WithMessage("This node is not part of a swarm")
	errWrongKey  = errdefs.ErrUnauthenticated.WithMessage("swarm could not be unlocked: invalid key provided")
	errNotLocked = errdefs.ErrConflict.WithMessage("swarm is not locked")
)

// Swarm's words for addresses that are none.
// Source: moby, daemon/cluster/listen_addr.go.
var (
	errListenAddr    = errors.New("listen address must be an IP address or network interface (with optional port number)")
	errAdvertiseAddr = errors.New("advertise address must be a non-zero IP address or network interface (with optional port number)")
	errDataPathAddr  = errors.New("data path address must be a non-zero IP address or network interface (without a port number)")
)

// badAddress is Swarm's text where the address is none, else what is the matter.
func badAddress(text, err error) error {
	if errors.Is(err, errAddress) {
		return text
	}
	return err
}

// engineTimeout bounds a question to the local dockerd.
const engineTimeout = 10 * time.Second

// Init makes the node the first manager of a new cluster.
func (d *Daemon) Init(ctx context.Context, r swarm.InitRequest) (string, error) {
	d.change.Lock()
	defer d.change.Unlock()
	if d.node != nil && r.ForceNewCluster {
		return d.rescue(ctx)
	}
	if d.node != nil || d.idle != nil {
		return "", errMember
	}
	if err := d.checkEngine(ctx); err != nil {
		return "", err
	}
	m, err := d.newMembership(r)
	if err != nil {
		return "", errdefs.ErrInvalidArgument.WithMessage(err.Error())
	}
	founding := &manager.Founding{Request: r, Addr: m.AdvertiseAddr}
	if err := founding.Validate(); err != nil {
		return "", err // 500, as Swarm has it
	}
	c, certPEM, keyPEM, err := foundingCredentials(d.files, m, r.Spec.CAConfig)
	if err != nil {
		return "", err
	}
	founding.CA = c.ca
	founding.Request.Spec.CAConfig.SigningCAKey = "" // sealed, it is the state's
	m.Server = m.NodeID
	// What an init left behind that never came to its end belongs to nobody.
	if err := d.files.remove(); err != nil {
		return "", err
	}
	n, err := d.start(ctx, m, c, managing{founding: founding})
	if err == nil {
		// From here on the node is a member after a restart, too.
		if err = d.files.save(m, c, certPEM, keyPEM); err != nil {
			n.stop()
		}
	}
	if err != nil {
		return "", errors.Join(err, d.files.remove())
	}
	d.enter(n)
	n.waitReady(ctx)
	d.log.Info("a new cluster", "cluster", m.ClusterID, "node", m.NodeID, "address", m.AdvertiseAddr)
	return m.NodeID, nil
}

// checkEngine refuses a dockerd that is not there or is a Swarm of its own.
func (d *Daemon) checkEngine(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	info, err := d.docker.Info(ctx)
	if err != nil {
		return errdefs.ErrUnavailable.WithMessage(fmt.Sprintf("the Docker Engine at %s does not answer: %v", d.cfg.DockerHost, err))
	}
	if s := info.Swarm.LocalNodeState; s != "" && s != swarm.LocalNodeStateInactive {
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("the Docker Engine at %s is itself part of a swarm: run `docker -H %[1]s swarm leave` first", d.cfg.DockerHost))
	}
	return nil
}

// newMembership chooses IDs and addresses for a first manager.
func (d *Daemon) newMembership(r swarm.InitRequest) (*membership, error) {
	m := &membership{NodeID: identity.NewID(), ClusterID: identity.NewID(), Manager: true, DataPathPort: r.DataPathPort}
	listen, err := address(orElse(r.ListenAddr, d.cfg.ListenAddr), defaultPort)
	if err != nil {
		return nil, badAddress(errListenAddr, err)
	}
	m.ListenAddr = listen.String()
	advertise, err := d.advertise(r.AdvertiseAddr, listen)
	if err == nil && advertise.Addr().IsUnspecified() {
		err = errAddress
	}
	if err != nil {
		return nil, badAddress(errAdvertiseAddr, err)
	}
	m.AdvertiseAddr = advertise.String()
	m.DataPathAddr = advertise.Addr().String()
	if r.DataPathAddr != "" {
		path, err := address(r.DataPathAddr, 0)
		if err != nil || path.Addr().IsUnspecified() {
			return nil, errDataPathAddr
		}
		m.DataPathAddr = path.Addr().String()
	}
	return m, nil
}

// advertise is the address that others are told: as asked for, else the one
// that is listened on, else the machine's.
func (d *Daemon) advertise(asked string, listen netip.AddrPort) (netip.AddrPort, error) {
	if s := orElse(asked, d.cfg.AdvertiseAddr); s != "" {
		return address(s, listen.Port())
	}
	if !listen.Addr().IsUnspecified() {
		return listen, nil
	}
	ip, err := systemAddress()
	return netip.AddrPortFrom(ip, listen.Port()), err
}

func orElse(s, other string) string {
	if s != "" {
		return s
	}
	return other
}

// foundingCA is the authority that a new cluster was told to have, or one of its own.
func foundingCA(spec swarm.CAConfig) (*identity.CA, error) {
	if spec.SigningCACert == "" && spec.SigningCAKey == "" {
		return identity.NewCA()
	}
	ca, err := identity.ParseCA([]byte(spec.SigningCACert), []byte(spec.SigningCAKey))
	if err != nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage(err.Error())
	}
	return ca, nil
}

// foundingCredentials makes a cluster's authority and its first manager's certificate.
func foundingCredentials(f files, m *membership, spec swarm.CAConfig) (c *credentials, certPEM, keyPEM []byte, err error) {
	ca, err := foundingCA(spec)
	if err != nil {
		return nil, nil, nil, err
	}
	validity := spec.NodeCertExpiry
	if validity == 0 {
		validity = identity.DefaultValidity
	}
	request, err := identity.NewRequest()
	if err != nil {
		return nil, nil, nil, err
	}
	who := identity.Peer{Node: m.NodeID, Role: identity.Manager, Cluster: m.ClusterID}
	if certPEM, err = ca.Sign(request.CSR(), who, validity); err != nil {
		return nil, nil, nil, err
	}
	if keyPEM, err = request.KeyPEM(); err != nil {
		return nil, nil, nil, err
	}
	node, err := identity.NewNode(ca, certPEM, keyPEM)
	return &credentials{ca: ca, node: node, seal: identity.NewKey(), box: newStrongbox(f), renew: make(chan struct{}, 1)}, certPEM, keyPEM, err
}

// resume starts what the node was part of when the daemon stopped.
func (d *Daemon) resume(ctx context.Context) error {
	d.change.Lock()
	defer d.change.Unlock()
	return d.resumeLocked(ctx)
}

// resumeLocked is resume for who holds d.change.
func (d *Daemon) resumeLocked(ctx context.Context) error {
	m, c, err := d.files.load(nil)
	if errors.Is(err, errLocked) {
		d.rest(&idle{m: m, state: swarm.LocalNodeStateLocked})
		d.log.Warn("the manager is locked; `orch unlock` with its unlock key lets it go on", "node", m.NodeID)
		return nil
	}
	if err != nil || m == nil {
		return err
	}
	n, err := d.start(ctx, m, c, managing{})
	if err != nil {
		return err
	}
	d.enter(n)
	return nil
}

// rescue makes this manager the only one of its cluster, after the majority was lost. Its services and workers stay; the managers
// that were lost must not come back as such.
func (d *Daemon) rescue(ctx context.Context) (string, error) {
	m := d.node.m.Load()
	if !m.Manager {
		return "", errdefs.ErrUnavailable.WithMessage("This node is not a swarm manager: --force-new-cluster goes on from what a manager has.")
	}
	if cp := d.node.manager.Load(); cp != nil {
		if reachable, unreachable := cp.Reachability(); reachable > 1 && reachable > unreachable {
			return "", errdefs.ErrFailedPrecondition.WithMessage("A majority of the managers can be reached: nothing was lost that --force-new-cluster would have to replace. Demote the managers that are gone.")
		}
	}
	d.log.Warn("going on alone, without the other managers", "cluster", m.ClusterID)
	d.node.stop()
	n, err := d.start(ctx, m, d.node.c, managing{rescue: true})
	if err != nil {
		// As it was: the others may yet come back.
		again, failed := d.start(ctx, m, d.node.c, managing{})
		if failed == nil {
			d.enter(again)
		}
		return "", errors.Join(err, failed)
	}
	d.enter(n)
	return m.NodeID, nil
}

func (d *Daemon) stateDir() string { return filepath.Join(d.cfg.DataDir, clusterDir, "state") }
