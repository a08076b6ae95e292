package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"orch/internal/admission"
	"orch/internal/bus"
	"orch/internal/identity"
	"orch/manager"
)

const (
	// enrolEvery is the pause before a manager is asked again that had another one joining.
	enrolEvery = 300 * time.Millisecond
	// enrolTold is how often an operator is told that it does not come about.
	enrolTold = 10 * time.Second
	// majorityWait is how long a start waits for a majority of the managers before the node serves without.
	majorityWait = 3 * time.Second
	// workerCertEvery is the pause before a demoted node asks again for a worker's certificate.
	workerCertEvery = time.Second
)

// managing is how a manager comes about. The zero value resumes what is on disk.
type managing struct {
	founding *manager.Founding
	enrol    bool // it was promoted, or joins
	rescue   bool // it goes on without the others
}

// patience is how long a start waits for the manager, 0 for as long as it takes.
func (how managing) patience(m *membership) time.Duration {
	if how == (managing{}) && len(m.others()) > 0 {
		return majorityWait
	}
	return 0
}

// part is the control plane of a node while it has one.
type part struct {
	cancel context.CancelFunc
	ready  chan struct{} // closed once it serves
	ended  chan struct{} // closed at its end, after err is set
	err    error
}

// wait returns when the control plane serves, has failed, or time is up, which is no error.
func (p *part) wait(ctx context.Context, patience time.Duration) error {
	var up <-chan time.Time
	if patience > 0 {
		up = time.After(patience)
	}
	select {
	case <-p.ready:
		return nil
	case <-p.ended:
		return p.err
	case <-up:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *part) stop() {
	p.cancel()
	<-p.ended
}

// manage starts the control plane.
func (n *node) manage(ctx context.Context, how managing) *part {
	ctx, cancel := context.WithCancel(ctx)
	p := &part{cancel: cancel, ready: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		if err := n.runManager(ctx, p, how); ctx.Err() == nil {
			p.err = err
		}
	}()
	return p
}

func (n *node) runManager(ctx context.Context, p *part, how managing) error {
	m, err := n.startManager(ctx, how)
	// A manager whose state is gone is as good as a new one, as long as there are others.
	if errors.Is(err, bus.ErrNoState) && how == (managing{}) && len(n.m.Load().others()) > 0 {
		n.d.log.Warn("the manager's state is gone; joining the other managers again", "error", err)
		m, err = n.startManager(ctx, managing{enrol: true})
	}
	if err != nil {
		return err
	}
	defer m.Stop()
	if !n.m.Load().Manager {
		if err := n.remember(func(m *membership) { m.Manager = true }); err != nil {
			return err
		}
	}
	api, handler := n.d.managerHandler(n, m)
	n.d.swap(n, handler)
	n.broken.Store(nil)
	n.manager.Store(m)
	defer n.manager.Store(nil)
	close(p.ready)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.Run(ctx) })
	group.Go(func() error { return api.Run(ctx) })
	return group.Wait()
}

func (n *node) startManager(ctx context.Context, how managing) (*manager.Manager, error) {
	if how.enrol {
		if err := n.enrol(ctx); err != nil {
			return nil, err
		}
	}
	m := n.m.Load()
	listen, err := netip.ParseAddrPort(m.ListenAddr)
	if err != nil {
		return nil, fmt.Errorf("listen address: %w", err)
	}
	cfg := manager.Config{
		NodeID: m.NodeID, ClusterID: m.ClusterID, Server: m.Server, Dir: n.d.stateDir(), SnapshotDir: n.d.files.path(snapshotDir),
		AdmitAddr: m.ListenAddr, ClientAddr: bus.ClientAddr(listen), RouteAddr: bus.RouteAddr(listen), Addr: m.AdvertiseAddr,
		Identity: n.c.node, Seal: n.c.seal, SetUnlock: n.c.box.setUnlock, Founding: how.founding, Joining: how.enrol, Rescue: how.rescue, Log: n.d.cfg.Log,
	}
	if !how.rescue {
		cfg.Others = m.others()
	}
	return manager.Start(ctx, cfg)
}

// enrol asks the managers, until they have time, for what a manager needs, and begins with an empty state.
func (n *node) enrol(ctx context.Context) error {
	r, keyPEM, err := newRequest()
	if err != nil {
		return err
	}
	told := time.Now()
	for {
		w, err := n.askToEnrol(ctx, r)
		if err == nil {
			return n.takeOffice(w, keyPEM)
		}
		if time.Since(told) > enrolTold {
			n.d.log.Warn("the node is to be a manager, and waits for the managers", "error", err)
			told = time.Now()
		}
		select {
		case <-time.After(enrolEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *node) askToEnrol(ctx context.Context, r *identity.Request) (w admission.Warrant, err error) {
	m := n.m.Load()
	e := admission.Enrolment{CSR: r.CSR(), Addr: m.AdvertiseAddr}
	var errs []error
	for _, addr := range m.others() {
		if w, err = admission.Enrol(ctx, addr, n.c.node, e); err == nil {
			return w, nil
		}
		errs = append(errs, err)
	}
	return w, errors.Join(errs...)
}

func (n *node) takeOffice(w admission.Warrant, keyPEM []byte) error {
	seal, err := identity.KeyFromBytes(w.Seal)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(n.d.stateDir()); err != nil {
		return fmt.Errorf("make room for the cluster's state: %w", err)
	}
	if err := n.d.files.saveManager(n.c, seal); err != nil {
		return err
	}
	if err := n.adopt(identity.Signed{Cert: w.Cert, Trust: w.CA}, keyPEM); err != nil {
		return err
	}
	return n.remember(func(m *membership) { m.Server, m.Managers = w.Server, w.Managers })
}

// demote ends the control plane, which the other managers do not count on any more, and takes away what it had.
func (n *node) demote(ctx context.Context) error {
	n.part.stop()
	n.part = nil
	if err := n.remember(func(m *membership) { m.Manager, m.Server = false, "" }); err != nil {
		return err
	}
	if err := n.d.files.removeManager(n.c, n.d.stateDir()); err != nil {
		return err
	}
	n.d.swap(n, n.d.workerHandler(n))
	n.d.log.Info("this node is a worker now")
	for n.c.node.Peer().Role != identity.Worker {
		err := n.renewNow(ctx)
		if err == nil {
			continue
		}
		n.d.log.Warn("no worker's certificate yet", "error", err)
		select {
		case <-time.After(workerCertEvery):
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func (n *node) renewNow(ctx context.Context) error {
	r, keyPEM, err := newRequest()
	if err != nil {
		return err
	}
	signed, err := n.sign(ctx, r.CSR())
	if err != nil {
		return err
	}
	return n.adopt(signed, keyPEM)
}

// adopt makes a certificate the node's, on disk first.
func (n *node) adopt(signed identity.Signed, keyPEM []byte) error {
	trust, err := identity.ParseCA(signed.Trust, nil)
	if err != nil {
		return err
	}
	if err := n.d.files.saver(n.c)(signed.Trust, signed.Cert, keyPEM); err != nil {
		return err
	}
	return n.c.node.Adopt(trust, signed.Cert, keyPEM)
}

// sign has a certificate request signed by the managers, or by the node itself if it is one.
func (n *node) sign(ctx context.Context, csr []byte) (identity.Signed, error) {
	if m := n.manager.Load(); m != nil {
		return m.Renew(ctx, csr)
	}
	var errs []error
	for _, addr := range n.m.Load().Managers {
		signed, err := admission.Renew(ctx, addr, n.c.node, csr)
		if err == nil {
			return signed, nil
		}
		errs = append(errs, err)
	}
	return identity.Signed{}, errors.Join(errs...)
}

func newRequest() (r *identity.Request, keyPEM []byte, err error) {
	if r, err = identity.NewRequest(); err != nil {
		return nil, nil, err
	}
	keyPEM, err = r.KeyPEM()
	return r, keyPEM, err
}
