package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"orch/internal/bus"
	"orch/internal/identity"
	"orch/internal/store"
	"orch/manager"
	"orch/worker"
	"orch/worker/attach"
	"orch/worker/engine/docker"
	"orch/worker/network"
)

// readyTimeout bounds how long a new cluster's first node is waited for: a
// client that lists the nodes next finds it ready, as with Swarm.
const readyTimeout = 5 * time.Second

// endTimeout bounds how long a leaving node waits for its tasks to stop.
const endTimeout = 60 * time.Second

// node is what runs while the machine is in a cluster: a worker, and while it is
// a manager the control plane, which comes and goes as the managers say.
type node struct {
	d       *Daemon
	c       *credentials
	agent   *worker.Agent
	network *network.Network
	conn    *bus.WorkerConn
	keeper  *attach.Keeper

	// write guards the changes of m, which is replaced, never changed.
	write sync.Mutex
	m     atomic.Pointer[membership]
	// handler is what the node serves; the daemon's lock guards it.
	handler http.Handler
	// manager is nil while the node is none, or is not ready to be one.
	manager atomic.Pointer[manager.Manager]
	// told has the last word of the managers.
	told chan word
	// broken is why the node's control plane must not go on; its worker does.
	broken atomic.Pointer[error]
	// part is the control plane; it belongs to start, and then to keepRole.
	part *part

	cancel context.CancelFunc // ends both roles, containers run on
	done   chan struct{}      // closed when they have ended
}

// word is what the managers say of the node and of themselves.
type word struct {
	role     swarm.NodeRole
	managers []string
}

// start runs a membership. It returns once the node can serve; a manager that finds no majority of
// the others serves that.
func (d *Daemon) start(ctx context.Context, m *membership, c *credentials, how managing) (*node, error) {
	life, cancel := context.WithCancel(d.life)
	n := &node{d: d, c: c, cancel: cancel, done: make(chan struct{}), told: make(chan word, 1)}
	n.m.Store(m)
	if err := n.startRoles(ctx, life, how); err != nil {
		cancel()
		n.close()
		return nil, err
	}
	go n.supervise(life)
	return n, nil
}

func (n *node) startRoles(ctx, life context.Context, how managing) error {
	if err := n.startWorker(ctx); err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	n.d.swap(n, n.d.workerHandler(n))
	if !n.m.Load().Manager {
		return nil
	}
	n.part = n.manage(life, how)
	err := n.part.wait(ctx, how.patience(n.m.Load()))
	switch {
	case errors.Is(err, bus.ErrDamaged) && how == (managing{}):
		n.part = nil
		n.alarm(ctx, err)
	case err != nil:
		return fmt.Errorf("start the manager: %w", err)
	}
	return nil
}

func (n *node) startWorker(ctx context.Context) (err error) {
	d, m := n.d, n.m.Load()
	n.conn, err = bus.DialWorker(ctx, bus.WorkerConfig{
		NodeID: m.NodeID, Addrs: bus.ClientAddrs(m.turnTo()), TLS: n.c.node.Client(), Patient: true, Log: d.cfg.Log,
	})
	if err != nil {
		return err
	}
	if err := n.prepareAgent(ctx, n.conn); err != nil {
		return err
	}
	n.keeper = attach.New(attach.Config{Managers: n.conn, Network: n.network, Docker: d.docker, Log: d.cfg.Log})
	return nil
}

// prepareAgent makes the node's worker without running it.
func (n *node) prepareAgent(ctx context.Context, managers worker.Managers) (err error) {
	d, m := n.d, n.m.Load()
	n.network, err = network.New(ctx, network.Config{
		NodeID: m.NodeID, Docker: d.docker, Underlay: m.DataPathAddr, VXLANPort: int(m.DataPathPort),
		StateDir: d.cfg.DataDir, Log: d.cfg.Log,
	})
	if err != nil {
		return err
	}
	n.agent, err = worker.New(ctx, worker.Config{
		NodeID: m.NodeID, ClusterID: m.ClusterID,
		Dir: filepath.Join(d.cfg.DataDir, clusterDir, "worker"), RunDir: filepath.Join(d.cfg.DataDir, "run"), Address: m.DataPathAddr,
		TLSInfo: func() swarm.TLSInfo { return manager.NodeTLSInfo(n.c.node) }, Stand: n.c.stand, Told: n.hear,
		Engine: docker.New(d.docker), Network: n.network, Managers: managers, Log: d.cfg.Log,
	})
	return err
}

// alarm goes on without the control plane, whose state is damaged: tasks run on, and the API says what to do.
func (n *node) alarm(ctx context.Context, err error) {
	n.broken.Store(&err)
	n.d.log.Error("this manager does not go on", "error", err)
	n.d.swap(n, n.d.brokenHandler(n, err))
}

// hear keeps the last word of the managers for keepRole.
func (n *node) hear(role swarm.NodeRole, managers []string) {
	select {
	case <-n.told:
	default:
	}
	n.told <- word{role, managers} // the agent is the only sender
}

// supervise runs both roles until one fails or the node is stopped.
func (n *node) supervise(life context.Context) {
	defer close(n.done)
	group, ctx := errgroup.WithContext(life)
	for _, run := range []func(context.Context) error{
		n.keepRole,
		n.keepFresh,
		n.agent.Run,
		n.network.Run,
		n.keeper.Run,
		func(ctx context.Context) error { return n.conn.ServeLogs(ctx, n.agent.Logs) },
		func(ctx context.Context) error { return n.conn.ServeQuestions(ctx, n.network.Answer) },
		func(ctx context.Context) error { return n.d.serveNode(ctx, n) },
	} {
		group.Go(func() error {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			return nil
		})
	}
	err := group.Wait()
	n.close()
	if err != nil {
		select {
		case n.d.failed <- err:
		default: // the first failure is the one to tell
		}
	}
}

// keepRole makes the node what the managers say, until the context ends.
func (n *node) keepRole(ctx context.Context) error {
	for {
		var ended <-chan struct{}
		if n.part != nil {
			ended = n.part.ended
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			if !errors.Is(n.part.err, bus.ErrDamaged) {
				return n.part.err
			}
			n.alarm(ctx, n.part.err)
			n.part = nil
		case w := <-n.told:
			if err := n.learn(w.managers); err != nil {
				return err
			}
			switch {
			case w.role == swarm.NodeRoleManager && n.part == nil && len(n.m.Load().others()) > 0:
				// Also after an alarm: who says so are managers that have a state, and this one is to get it from them.
				n.part = n.manage(ctx, managing{enrol: true})
			case w.role == swarm.NodeRoleWorker && n.part != nil:
				if err := n.demote(ctx); err != nil {
					return err
				}
			}
		}
	}
}

// learn remembers where the managers are.
func (n *node) learn(managers []string) error {
	if len(managers) == 0 || slices.Equal(managers, n.m.Load().Managers) {
		return nil
	}
	return n.remember(func(m *membership) { m.Managers = managers })
}

// remember changes what the node knows of its membership, on disk first.
func (n *node) remember(change func(*membership)) error {
	n.write.Lock()
	defer n.write.Unlock()
	m := *n.m.Load()
	change(&m)
	if err := n.d.files.saveMembership(&m); err != nil {
		return err
	}
	n.m.Store(&m)
	if n.conn == nil {
		return nil
	}
	return n.conn.SetManagers(bus.ClientAddrs(m.turnTo()))
}

// keepFresh renews the node's certificate with any manager, itself if it is one.
func (n *node) keepFresh(ctx context.Context) error {
	return identity.KeepFresh(ctx, n.c.node, n.c.renew, n.d.files.saver(n.c), n.sign, func(err error, again time.Duration) {
		n.d.log.Warn("the node's certificate could not be renewed", "again in", again, "error", err)
	})
}

// close lets go of what start has opened.
func (n *node) close() {
	if n.conn != nil {
		n.conn.Close()
	}
	if n.part != nil {
		n.part.stop()
	}
}

// waitReady waits until the managers have heard of the node's worker.
func (n *node) waitReady(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	m := n.manager.Load()
	if m == nil {
		return
	}
	watch, view := m.Store().Watch(store.KindNode)
	defer watch.Close()
	for {
		if me := view.Node(n.m.Load().NodeID); me != nil && me.Status.State == swarm.NodeStateReady {
			return
		}
		select {
		case <-watch.C():
			watch.Take()
			view = m.Store().View()
		case <-ctx.Done():
			return
		}
	}
}

// stop ends both roles; containers run on.
func (n *node) stop() {
	n.cancel()
	<-n.done
}

// end stops the node's tasks and takes everything of them away.
func (n *node) end(ctx context.Context) error {
	n.stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err := n.agent.Leave(ctx); err != nil {
		return fmt.Errorf("remove the node's tasks: %w", err)
	}
	return nil
}
