// Package sim is a whole cluster in one process, for testing/synctest: managers
// that follow one log in memory and lead in turn, with the real leader's loop and
// dispatcher; nodes with the real agent on simulated engines; and between them
// connections that can be cut and lose messages. Only the network and the
// election are not the real ones.
//
// A test does things to the [Cluster], lets simulated time pass, and looks at
// the state ([Cluster.View]) and at what really runs ([Node.Running]).
package sim

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"

	"orch/internal/bus"
	"orch/internal/store"
	"orch/manager"
	"orch/manager/dispatcher"
	"orch/manager/orchestrator"
	"orch/worker/engine/sim"
)

const (
	clusterID = "cluster"
	heartbeat = time.Second
)

// Image is on every node.
const Image = "t:latest"

// Cluster is a simulated cluster. Its methods are for the test's goroutine.
type Cluster struct {
	t        testing.TB
	ctx      context.Context
	random   *rand.Rand
	log      *store.MemLog
	managers []*store.Store
	wires    []*wire                // by manager
	leading  int                    // index of the leader in managers
	leader   atomic.Pointer[leader] // asked by the agents' goroutines
	epoch    atomic.Uint64
	Nodes    []*Node
	running  []chan struct{} // closed when a goroutine of the cluster has ended
}

// leader is one leadership.
type leader struct {
	dispatcher *dispatcher.Dispatcher
	resign     context.CancelFunc
}

// New is a cluster of managers and nodes in the present synctest bubble. It ends
// when the returned function is called.
func New(t testing.TB, random *rand.Rand, managers, nodes int) (*Cluster, func()) {
	ctx, cancel := context.WithCancel(t.Context())
	c := &Cluster{t: t, ctx: ctx, random: random, log: store.NewMemLog()}
	for range managers {
		w := &wire{MemLog: c.log, random: rand.New(rand.NewPCG(random.Uint64(), 0))}
		s := store.New(w)
		c.wires = append(c.wires, w)
		c.managers = append(c.managers, s)
		c.spawn(func() { _ = s.Run(ctx) })
		<-s.Ready()
	}
	c.Update(func(tx *store.Tx) {
		cluster := &store.Cluster{}
		cluster.ID, cluster.Spec.Name = clusterID, "default"
		tx.Put(cluster)
		ingress := &store.Network{}
		ingress.ID, ingress.Spec.Name, ingress.Spec.Ingress = "ingress", "ingress", true
		tx.Put(ingress)
	})
	for i := range nodes {
		c.join(fmt.Sprintf("n%d", i+1))
	}
	c.Lead()
	for _, n := range c.Nodes {
		n.start()
	}
	return c, func() {
		c.leader.Load().resign()
		for _, n := range c.Nodes {
			n.stop()
		}
		cancel()
		for _, ended := range c.running {
			<-ended
		}
	}
}

func (c *Cluster) spawn(fn func()) <-chan struct{} {
	ended := make(chan struct{})
	c.running = append(c.running, ended)
	go func() { defer close(ended); fn() }()
	return ended
}

// View is the state as the leader has it.
func (c *Cluster) View() *store.View { return c.managers[c.leading].View() }

// Views are the states as the managers have them.
func (c *Cluster) Views() (views []*store.View) {
	for _, s := range c.managers {
		views = append(views, s.View())
	}
	return views
}

// Update writes to the state as an API server does: through any manager.
func (c *Cluster) Update(fn func(*store.Tx)) {
	c.t.Helper()
	if err := c.TryUpdate(fn); err != nil {
		c.t.Fatalf("update: %v", err)
	}
}

// TryUpdate is Update where the log may be disturbed: after an error the write may have happened or not.
func (c *Cluster) TryUpdate(fn func(*store.Tx)) error {
	s := c.managers[c.random.IntN(len(c.managers))]
	err := s.Update(c.ctx, func(tx *store.Tx) error { fn(tx); return nil })
	synctest.Wait() // until every manager has it
	return err
}

// Disturb makes a manager's connection to the log lose that share of commits, or of the answers to them, and take up to
// delay for each step. Calm ends that on all.
func (c *Cluster) Disturb(manager int, loss float64, delay time.Duration) {
	c.wires[manager].disturb(loss, delay)
}

// Calm undoes Disturb.
func (c *Cluster) Calm() {
	for _, w := range c.wires {
		w.disturb(0, 0)
	}
}

// Lead makes the next manager the leader. The former one is not told: it finds
// out when its next write is refused, as a leader does that was cut off.
func (c *Cluster) Lead() {
	epoch, err := c.log.Commit(c.ctx, store.Batch{Ops: []store.Op{{Key: store.EpochKey, Value: []byte("x"), Expect: c.epoch.Load()}}})
	if err != nil {
		c.t.Fatalf("take the lead: %v", err)
	}
	c.epoch.Store(epoch)
	c.leading = (c.leading + 1) % len(c.managers)
	if old := c.leader.Load(); old != nil {
		time.AfterFunc(heartbeat, old.resign)
	}
	c.lead(c.managers[c.leading], epoch)
	for _, n := range c.Nodes {
		n.link.reconnect()
	}
}

func (c *Cluster) lead(s *store.Store, epoch uint64) {
	ctx, resign := context.WithCancel(c.ctx)
	quiet := slog.New(slog.DiscardHandler)
	loop := manager.NewLoop(s, epoch, quiet)
	l := &leader{resign: resign}
	l.dispatcher = dispatcher.New(dispatcher.Config{
		Cluster: clusterID, Epoch: epoch, Store: s, Heartbeat: heartbeat, Log: quiet, Do: loop.Do,
		Push:       func(node string, a bus.Assignments) error { return c.push(epoch, node, a) },
		Observe:    func(tx *store.Tx, node string, s bus.TaskStatus) { orchestrator.Observe(tx, node, s) },
		OpenSecret: func(s *store.Secret) ([]byte, error) { return s.Sealed, nil },
		OpenAuth:   func(*store.Task) (string, error) { return "", nil },
	})
	c.leader.Store(l)
	c.spawn(func() { _ = loop.Run(ctx); resign() }) // deposed
	c.spawn(func() { _ = l.dispatcher.Run(ctx) })
}

func (c *Cluster) push(epoch uint64, node string, a bus.Assignments) error {
	for _, n := range c.Nodes {
		if n.ID == node && epoch == c.epoch.Load() {
			return n.link.push(a)
		}
	}
	return nil
}

// join makes a node part of the cluster.
func (c *Cluster) join(id string) {
	c.Update(func(tx *store.Tx) {
		n := &store.Node{}
		n.ID = id
		n.Spec.Availability, n.Spec.Role = swarm.NodeAvailabilityActive, swarm.NodeRoleWorker
		n.Status.State = swarm.NodeStateUnknown
		tx.Put(n)
	})
	n := &Node{
		ID: id, cluster: c, dir: c.t.TempDir(),
		Engine: sim.New(sim.Config{
			Info:   system.Info{NCPU: 4, MemTotal: 8 << 30, Name: id, OSType: "linux", Architecture: "x86_64"},
			Images: []string{Image}, StartTime: 100 * time.Millisecond, CreateTime: 50 * time.Millisecond,
		}),
	}
	n.link = newLink(c, id)
	c.Nodes = append(c.Nodes, n)
}
