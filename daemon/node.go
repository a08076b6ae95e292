package daemon

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"orch/internal/bus"
	"orch/manager"
	"orch/manager/api"
	"orch/worker"
	"orch/worker/attach"
	"orch/worker/engine/docker"
	"orch/worker/network"
)

// endTimeout bounds how long a leaving node waits for its tasks to stop.
const endTimeout = 60 * time.Second

// node is what runs while the machine is in a cluster: a worker, and on a
// manager the control plane.
type node struct {
	m       *membership
	manager *manager.Manager
	agent   *worker.Agent
	network *network.Network
	conn    *bus.WorkerConn
	keeper  *attach.Keeper
	handler http.Handler
	// also runs beside the worker: the manager, or what a worker alone needs.
	also []func(context.Context) error

	cancel context.CancelFunc // ends both roles, containers run on
	done   chan struct{}      // closed when they have ended
}

// start runs a membership. It returns once the node can serve.
func (d *Daemon) start(ctx context.Context, m *membership, c *credentials, founding *manager.Founding) (*node, error) {
	life, cancel := context.WithCancel(d.life)
	n := &node{m: m, cancel: cancel, done: make(chan struct{})}
	if err := d.startRoles(ctx, n, c, founding); err != nil {
		cancel()
		n.close()
		return nil, err
	}
	go d.supervise(life, n)
	return n, nil
}

func (d *Daemon) startRoles(ctx context.Context, n *node, c *credentials, founding *manager.Founding) error {
	if n.m.Manager {
		if err := d.startManager(ctx, n, c, founding); err != nil {
			return fmt.Errorf("start the manager: %w", err)
		}
	} else {
		n.also = append(n.also, func(ctx context.Context) error { return d.keepFresh(ctx, n.m, c) })
	}
	if err := d.startWorker(ctx, n, c); err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	if n.manager == nil {
		n.handler = d.workerHandler(ctx, n)
		return nil
	}
	var a *api.API
	a, n.handler = d.managerHandler(ctx, n)
	n.also = append(n.also, a.Run)
	return nil
}

func (d *Daemon) startManager(ctx context.Context, n *node, c *credentials, founding *manager.Founding) error {
	p, err := n.m.ports()
	if err != nil {
		return err
	}
	n.manager, err = manager.Start(ctx, manager.Config{
		NodeID: n.m.NodeID, ClusterID: n.m.ClusterID, Dir: d.stateDir(),
		AdmitAddr: n.m.ListenAddr, ClientAddr: p.client, RouteAddr: p.route, AdvertiseBus: p.advertised,
		Identity: c.node, SaveIdentity: d.files.saver(c), Seal: c.seal, SetUnlock: c.box.setUnlock, Founding: founding,
		Log: d.cfg.Log,
	})
	if err != nil {
		return err
	}
	n.also = append(n.also, n.manager.Run)
	return nil
}

func (d *Daemon) startWorker(ctx context.Context, n *node, c *credentials) error {
	dial := bus.WorkerConfig{NodeID: n.m.NodeID, Addrs: n.m.Managers, TLS: c.node.Client(), Patient: true, Log: d.cfg.Log}
	if n.manager != nil {
		dial.Server = n.manager.Bus()
	}
	var err error
	if n.conn, err = bus.DialWorker(ctx, dial); err != nil {
		return err
	}
	if err := d.prepareAgent(ctx, n, n.conn, c); err != nil {
		return err
	}
	n.keeper = attach.New(attach.Config{Managers: n.conn, Network: n.network, Docker: d.docker, Log: d.cfg.Log})
	return nil
}

// prepareAgent makes the node's worker without running it.
func (d *Daemon) prepareAgent(ctx context.Context, n *node, managers worker.Managers, c *credentials) (err error) {
	n.network, err = network.New(ctx, network.Config{
		NodeID: n.m.NodeID, Docker: d.docker, Underlay: n.m.DataPathAddr, VXLANPort: int(n.m.DataPathPort),
		StateDir: d.cfg.DataDir, Log: d.cfg.Log,
	})
	if err != nil {
		return err
	}
	n.agent, err = worker.New(ctx, worker.Config{
		NodeID: n.m.NodeID, ClusterID: n.m.ClusterID,
		Dir: filepath.Join(d.cfg.DataDir, clusterDir, "worker"), RunDir: filepath.Join(d.cfg.DataDir, "run"),
		Address: n.m.DataPathAddr, TLSInfo: func() swarm.TLSInfo { return manager.NodeTLSInfo(c.node) }, Stand: c.stand, Engine: docker.New(d.docker),
		Network: n.network, Managers: managers, Log: d.cfg.Log,
	})
	return err
}

// supervise runs both roles until one fails or the node is stopped.
func (d *Daemon) supervise(life context.Context, n *node) {
	defer close(n.done)
	group, ctx := errgroup.WithContext(life)
	for _, run := range append(n.also,
		n.agent.Run,
		n.network.Run,
		n.keeper.Run,
		func(ctx context.Context) error { return n.conn.ServeLogs(ctx, n.agent.Logs) },
		func(ctx context.Context) error { return d.serveNode(ctx, n) },
	) {
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
		case d.failed <- err:
		default: // the first failure is the one to tell
		}
	}
}

// close lets go of what start has opened.
func (n *node) close() {
	if n.conn != nil {
		n.conn.Close()
	}
	if n.manager != nil {
		n.manager.Stop()
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

// enter makes the node's API the one that is served.
func (d *Daemon) enter(n *node) {
	d.node, d.idle = n, nil
	d.swap(n.handler)
}

// swap serves h from here on.
func (d *Daemon) swap(h http.Handler) { d.handler.Store(&h) }
