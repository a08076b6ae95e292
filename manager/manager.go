// Package manager is the control plane of one manager node: the embedded bus,
// the replicated state, the Swarm half of the Docker API, and, on the one manager
// that leads, the loop that turns desired state into tasks and the dispatcher that
// brings them to the workers.
//
// Its parts meet in the state only: the API writes what is wanted, the leader's
// loop what follows from it, the dispatcher reads. Packages orchestrator,
// allocator and scheduler decide and are pure.
package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"orch/internal/admission"
	"orch/internal/bus"
	"orch/internal/identity"
	"orch/internal/store"
	"orch/internal/store/jslog"
	"orch/manager/dispatcher"
	"orch/manager/images"
	"orch/manager/orchestrator"
)

// stopTimeout bounds a clean stop.
const stopTimeout = 5 * time.Second

// Config is what a manager needs.
type Config struct {
	NodeID    string
	ClusterID string
	// Dir holds the replicated state.
	Dir string
	// ClientAddr and RouteAddr are the bus' listeners, host:port.
	ClientAddr string
	RouteAddr  string
	// AdmitAddr is where machines that join ask, host:port, and Addr what others are told: the bus'
	// ports are above it.
	AdmitAddr string
	Addr      string
	// Server is this manager's name in the consensus, and Others are the other managers' first ports.
	Server   string
	Others   []string
	Identity *identity.Node
	// Seal is the key under which secrets are kept.
	Seal identity.Key
	// SetUnlock has the manager's keys on disk locked with the cluster's unlock key, nil
	// while autolock is off. It may be called with what is so already.
	SetUnlock func(*identity.Key) error
	// SnapshotDir is where the manager keeps copies of the state, sealed; "" for none.
	SnapshotDir string
	// Founding makes a new cluster; nil where there is one already.
	Founding *Founding
	// Joining says that this manager has been enrolled and is to become one of the Others.
	Joining bool
	// Rescue goes on alone with what this manager has, after the majority was lost.
	Rescue bool
	Log    *slog.Logger
}

// Manager is a running manager.
type Manager struct {
	cfg   Config
	log   *slog.Logger
	bus   *bus.Server
	state *jslog.Log
	store *store.Store
	admit net.Listener
	peers *bus.Peers
	// following ends when the store's view can no longer be kept true.
	following chan error
	unfollow  context.CancelFunc
}

// Start brings a manager up; once it returns, the state can be read and written.
func Start(ctx context.Context, cfg Config) (*Manager, error) {
	m := &Manager{cfg: cfg, log: cfg.Log.With("component", "manager"), following: make(chan error, 1)}
	if err := m.start(ctx); err != nil {
		m.Stop()
		return nil, err
	}
	return m, nil
}

func (m *Manager) start(ctx context.Context) (err error) {
	if m.admit, err = net.Listen("tcp", m.cfg.AdmitAddr); err != nil {
		return fmt.Errorf("listen for machines that join: %w", err)
	}
	m.bus, err = bus.Start(ctx, bus.ServerConfig{
		NodeID: m.cfg.NodeID, ClusterID: m.cfg.ClusterID, Dir: m.cfg.Dir, Key: m.cfg.Seal.Derive("state on disk"),
		Name: m.cfg.Server, ClientAddr: m.cfg.ClientAddr, RouteAddr: m.cfg.RouteAddr, Routes: bus.RouteAddrs(m.cfg.Others),
		AdvertiseClient: first(bus.ClientAddrs([]string{m.cfg.Addr})), AdvertiseRoute: first(bus.RouteAddrs([]string{m.cfg.Addr})),
		ServerTLS: m.cfg.Identity.Server(), RouteTLS: m.cfg.Identity.Route(),
		Founding: m.cfg.Founding != nil, FirstSeq: m.cfg.Founding.firstSeq(), Joining: m.cfg.Joining, Rescue: m.cfg.Rescue, Log: m.cfg.Log,
	})
	if err != nil {
		return err
	}
	if m.state, err = jslog.Open(ctx, m.bus.State()); err != nil {
		return err
	}
	m.state.Why = m.room
	m.store, m.peers = store.New(m.state), m.bus.Peers()
	follow, cancel := context.WithCancel(context.Background())
	m.unfollow = cancel
	go func() { m.following <- m.store.Run(follow) }()
	if err := m.load(ctx); err != nil {
		return err
	}
	switch {
	case m.cfg.Founding != nil && m.cfg.Founding.Restore != nil:
		return m.restore(ctx, m.cfg.Founding)
	case m.cfg.Founding != nil:
		return m.store.Update(ctx, func(tx *store.Tx) error { return found(tx, m.cfg) })
	case m.bus.Rescued():
		return m.store.Update(ctx, func(tx *store.Tx) error { return alone(tx, m.cfg) })
	case m.cfg.Joining:
		return m.arrive(ctx)
	default:
		return m.compare(ctx)
	}
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// Store is the replicated state.
func (m *Manager) Store() *store.Store { return m.store }

// Peers are the managers as this one hears them.
func (m *Manager) Peers() *bus.Peers { return m.peers }

// Bus is the embedded server.
func (m *Manager) Bus() *bus.Server { return m.bus }

// Run leads whenever it is this manager's turn, until the context ends. An error
// means that the manager cannot go on.
func (m *Manager) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.takeTurns(ctx) })
	group.Go(func() error { return admission.Serve(ctx, m.admit, m.cfg.Identity, office{m}) })
	group.Go(func() error { return m.keepLocked(ctx) })
	group.Go(func() error { return m.keepCopies(ctx) })
	group.Go(func() error { return m.keepOut(ctx) })
	group.Go(func() error { return m.peers.Run(ctx) })
	group.Go(func() error {
		select {
		case err := <-m.following:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	return group.Wait()
}

func (m *Manager) takeTurns(ctx context.Context) error {
	for {
		if m.mayLead(ctx) != nil {
			return nil
		}
		leadership, err := m.state.Campaign(ctx, m.cfg.NodeID)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("campaign for the leadership: %w", err)
		}
		err = m.lead(ctx, leadership)
		resign, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		if err := leadership.Resign(resign); err != nil {
			m.log.Warn("the leadership was not handed over; it ends by itself", "error", err)
		}
		cancel()
		if err != nil {
			return err
		}
	}
}

// lead runs what only the leader runs, until the leadership or the context ends.
func (m *Manager) lead(ctx context.Context, leadership *jslog.Leadership) error {
	m.log.Info("leading", "epoch", leadership.Epoch)
	m.peers.Leads(leadership.Epoch)
	defer m.peers.Leads(0)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(leadership.Lost(), cancel)()
	group, ctx := errgroup.WithContext(ctx)
	if err := m.doubt(ctx, leadership); err != nil {
		return nil // the next leader will
	}
	loop := newLeader(m.store, leadership.Epoch, m.log)
	workers := m.bus.Manager()
	d := dispatcher.New(m.dispatcherConfig(leadership.Epoch, loop, workers))
	group.Go(func() error { return loop.Run(ctx) })
	group.Go(func() error { return d.Run(ctx) })
	group.Go(func() error { return m.rebalance(ctx, loop) })
	group.Go(func() error { return m.rotateKeys(ctx, loop) })
	carrier := images.New(ctx, images.Config{View: m.store.View, Dial: workers.Dial, Log: m.log})
	defer carrier.Wait()
	group.Go(func() error {
		return workers.Serve(ctx, bus.Handlers{
			Session: d.Session, Beat: d.Beat, Report: d.Report, Attach: d.Attach, Attached: d.Attached, Image: carrier.Image,
		})
	})
	group.Go(func() error { return m.keepMembers(ctx, leadership.Epoch) })
	if err := group.Wait(); err != nil && !errors.Is(err, store.ErrFenced) && !errors.Is(err, errDemoted) {
		return err
	}
	return nil
}

// doubt keeps new tasks away from the node whose leadership ran out until it says that it is there: its machine may be lost, and
// would be taken for a good place until it has missed its heartbeats.
func (m *Manager) doubt(ctx context.Context, leadership *jslog.Leadership) error {
	if leadership.Missed == "" {
		return nil
	}
	return m.store.UpdateFenced(ctx, leadership.Epoch, func(tx *store.Tx) error {
		old := tx.Node(leadership.Missed)
		if old == nil || old.Status.State != swarm.NodeStateReady {
			return nil
		}
		n := *old
		n.Status.State, n.Status.Message = swarm.NodeStateUnknown, "it led, and is not heard of"
		tx.Put(&n)
		return nil
	})
}

func (m *Manager) dispatcherConfig(epoch uint64, loop *leader, workers *bus.ManagerConn) dispatcher.Config {
	return dispatcher.Config{
		Cluster: m.cfg.ClusterID, Epoch: epoch, Store: m.store, Log: m.log,
		Heartbeat:  beat(m.store.View().Cluster()),
		Standing:   standing,
		Do:         loop.Do,
		Push:       workers.Push,
		Observe:    func(tx *store.Tx, node string, s bus.TaskStatus) { orchestrator.Observe(tx, node, s) },
		OpenSecret: m.OpenSecret,
		OpenKey:    m.openKey,
		OpenAuth: func(t *store.Task) (string, error) {
			auth, err := identity.Open(m.cfg.Seal, t.PullAuth, authUse(t.ServiceID))
			return string(auth), err
		},
	}
}

// secretUse, authUse and caUse bind what is sealed to the object that it belongs to.
func secretUse(id string) string    { return "secret." + id }
func authUse(service string) string { return "pullauth." + service }
func caUse(cluster string) string   { return "cluster." + cluster }

// OpenSecret opens what SealSecret has sealed.
func (m *Manager) OpenSecret(s *store.Secret) ([]byte, error) {
	return identity.Open(m.cfg.Seal, s.Sealed, secretUse(s.ID))
}

// SealSecret seals a secret's data for its object.
func (m *Manager) SealSecret(id string, data []byte) []byte {
	return identity.Seal(m.cfg.Seal, data, secretUse(id))
}

// SealAuth seals a registry's credentials for a service.
func (m *Manager) SealAuth(service, auth string) []byte {
	return identity.Seal(m.cfg.Seal, []byte(auth), authUse(service))
}

// Stop ends the manager cleanly; Run must have ended.
func (m *Manager) Stop() {
	if m.admit != nil {
		m.admit.Close()
	}
	if m.unfollow != nil {
		m.unfollow()
	}
	if m.bus == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := m.bus.Shutdown(ctx); err != nil {
		m.log.Warn("the bus did not stop cleanly", "error", err)
	}
}
