package dispatcher

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"orch/internal/bus"
	"orch/internal/store"
	"orch/manager/allocator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const net1 = "net1"

// cluster is a dispatcher on a store of its own; what it pushes is kept by node.
type cluster struct {
	t     *testing.T
	store *store.Store
	d     *Dispatcher
	start func()
	stop  func()

	// mu guards what follows.
	mu      sync.Mutex
	pushed  map[string][]bus.Assignments
	greeted []string
}

func (c *cluster) push(node string, a bus.Assignments) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.Seq == 0 {
		c.greeted = append(c.greeted, node)
		return nil
	}
	c.pushed[node] = append(c.pushed[node], a)
	return nil
}

// sent is everything pushed to a node so far.
func (c *cluster) sent(node string) []bus.Assignments {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.pushed[node])
}

// newCluster has a store, and a dispatcher that does not run yet.
func newCluster(t *testing.T) *cluster {
	ctx, cancel := context.WithCancel(t.Context())
	c := &cluster{t: t, store: store.New(store.NewMemLog()), pushed: map[string][]bus.Assignments{}}
	c.d = New(Config{
		Cluster: "c", Epoch: 7, Store: c.store, Heartbeat: time.Second, Log: slog.New(slog.DiscardHandler),
		Push: c.push,
		Do: func(ctx context.Context, fn func(*store.Tx)) error {
			return c.store.Update(ctx, func(tx *store.Tx) error { fn(tx); return nil })
		},
		Observe: func(tx *store.Tx, _ string, s bus.TaskStatus) {
			task := *tx.Task(s.TaskID)
			task.Status = s.Status
			tx.Put(&task)
		},
		OpenSecret: func(s *store.Secret) ([]byte, error) { return s.Sealed, nil },
	})
	var running sync.WaitGroup
	running.Go(func() { _ = c.store.Run(ctx) })
	<-c.store.Ready()
	c.start = func() {
		running.Go(func() { _ = c.d.Run(ctx) })
		synctest.Wait()
	}
	c.stop = func() { cancel(); running.Wait() }
	return c
}

// run gives fn a running dispatcher under synthetic time.
func run(t *testing.T, fn func(*cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.start()
		fn(c)
		c.stop()
	})
}

func (c *cluster) update(fn func(*store.Tx)) {
	c.t.Helper()
	if err := c.store.Update(c.t.Context(), func(tx *store.Tx) error { fn(tx); return nil }); err != nil {
		c.t.Fatal(err)
	}
	synctest.Wait()
}

// join adds a node and opens its session.
func (c *cluster) join(id, addr string) bus.Assignments {
	c.t.Helper()
	c.update(func(tx *store.Tx) {
		n := &store.Node{NetworkAddrs: map[string]string{net1: addr}}
		n.ID = id
		tx.Put(n)
	})
	return c.session(id)
}

func (c *cluster) session(id string) bus.Assignments {
	c.t.Helper()
	full, err := c.d.Session(c.t.Context(), bus.Session{Node: id, Address: "192.0.2.1"})
	if err != nil {
		c.t.Fatal(err)
	}
	return full
}

func (c *cluster) last(node string) bus.Assignments {
	all := c.sent(node)
	return all[len(all)-1]
}

// confirm says that a node has everything in force that it was sent.
func (c *cluster) confirm(node string) {
	seq := uint64(1)
	if all := c.sent(node); len(all) > 0 {
		seq = all[len(all)-1].Seq
	}
	if _, err := c.d.Beat(c.t.Context(), bus.Beat{Node: node, Epoch: 7, Applied: seq}); err != nil {
		c.t.Fatalf("beat of %s: %v", node, err)
	}
	synctest.Wait()
}

// stops says whether a node has been told to stop a task.
func (c *cluster) stops(node, task string) bool {
	for _, a := range c.sent(node) {
		for _, t := range a.Tasks {
			if t.ID == task && t.DesiredState == swarm.TaskStateShutdown {
				return true
			}
		}
	}
	return false
}

func network() *store.Network {
	n := &store.Network{}
	n.ID, n.Spec.Name = net1, "front"
	n.IPAMOptions = &swarm.IPAMOptions{Configs: []swarm.IPAMConfig{{Subnet: "10.0.1.0/24", Gateway: "10.0.1.1"}}}
	n.DriverState.Options = map[string]string{allocator.VXLANOption: "4097"}
	return n
}

func webService() *store.Service {
	s := &store.Service{}
	s.ID, s.Spec.Name = "svc", "web"
	s.Spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: net1, Aliases: []string{"www"}}}
	s.Spec.EndpointSpec = &swarm.EndpointSpec{Mode: swarm.ResolutionModeVIP}
	s.Endpoint.VirtualIPs = []swarm.EndpointVirtualIP{{NetworkID: net1, Addr: "10.0.1.9/24"}}
	return s
}

func webTask(id, node, addr string, state swarm.TaskState) *store.Task {
	t := &store.Task{ServiceName: "web"}
	t.ID, t.ServiceID, t.NodeID, t.Slot, t.DesiredState, t.Status.State = id, "svc", node, 1, swarm.TaskStateRunning, state
	t.NetworksAttachments = []swarm.NetworkAttachment{{Network: swarm.Network{ID: net1}, Addresses: []string{addr + "/24"}}}
	return t
}

func (c *cluster) set(task string, fn func(*store.Task)) {
	c.update(func(tx *store.Tx) {
		t := *tx.Task(task)
		fn(&t)
		tx.Put(&t)
	})
}

func TestSessionHasEverythingOfTheNodeAndNothingElse(t *testing.T) {
	run(t, func(c *cluster) {
		c.join("n1", "10.0.1.250")
		c.join("n2", "10.0.1.251")
		c.update(func(tx *store.Tx) {
			tx.Put(network())
			tx.Put(webService())
			secret := &store.Secret{Sealed: []byte("hush")}
			secret.ID, secret.Spec.Name = "sec", "key"
			tx.Put(secret)
			other := &store.Secret{Sealed: []byte("not yours")}
			other.ID, other.Spec.Name = "sec2", "other"
			tx.Put(other)
			mine := webTask("t1", "n1", "10.0.1.2", swarm.TaskStateRunning)
			mine.Spec.ContainerSpec = &swarm.ContainerSpec{Secrets: []*swarm.SecretReference{{SecretID: "sec"}}}
			tx.Put(mine)
			tx.Put(webTask("t2", "n2", "10.0.1.3", swarm.TaskStateRunning))
			tx.Put(webTask("t3", "n2", "10.0.1.4", swarm.TaskStateStarting))
		})
		full := c.session("n1")
		if len(full.Tasks) != 1 || full.Tasks[0].ID != "t1" || full.Tasks[0].Name != "web.1.t1" {
			t.Errorf("tasks: %+v", full.Tasks)
		}
		if diff := cmp.Diff([]bus.Secret{{ID: "sec", Name: "key", Data: []byte("hush")}}, full.Secrets); diff != "" {
			t.Errorf("secrets (-want +got):\n%s", diff)
		}
		wantNet := []bus.Network{{
			ID: net1, Name: "front", Subnet: "10.0.1.0/24", Gateway: "10.0.1.1", NodeIP: "10.0.1.250", VNI: 4097,
			Peers: []bus.Peer{{NodeID: "n2", Underlay: "192.0.2.1", NodeIP: "10.0.1.251"}},
		}}
		if diff := cmp.Diff(wantNet, full.Networks); diff != "" {
			t.Errorf("networks (-want +got):\n%s", diff)
		}
		t1 := bus.Backend{TaskID: "t1", NodeID: "n1", Slot: 1, Addrs: map[string]string{net1: "10.0.1.2"}}
		t2 := bus.Backend{TaskID: "t2", NodeID: "n2", Slot: 1, Addrs: map[string]string{net1: "10.0.1.3"}}
		t3 := bus.Backend{TaskID: "t3", NodeID: "n2", Slot: 1, Addrs: map[string]string{net1: "10.0.1.4"}}
		wantService := []bus.Service{{
			ID: "svc", Name: "web", Mode: swarm.ResolutionModeVIP, VIPs: map[string]string{net1: "10.0.1.9"},
			Aliases: map[string][]string{net1: {"www"}}, Backends: []bus.Backend{t1, t2}, Tasks: []bus.Backend{t1, t2, t3},
		}}
		if diff := cmp.Diff(wantService, full.Services); diff != "" {
			t.Errorf("services (-want +got):\n%s", diff)
		}
	})
}

func TestANewLeaderTellsEveryNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		for _, id := range []string{"n1", "n2"} {
			c.update(func(tx *store.Tx) { n := &store.Node{}; n.ID = id; tx.Put(n) })
		}
		c.start()
		c.stop()
		slices.Sort(c.greeted)
		if diff := cmp.Diff([]string{"n1", "n2"}, c.greeted); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

func TestIncrementsAreNumberedAndSmall(t *testing.T) {
	run(t, func(c *cluster) {
		c.join("n1", "10.0.1.250")
		c.update(func(tx *store.Tx) { tx.Put(network()); tx.Put(webService()) })
		c.update(func(tx *store.Tx) { tx.Put(webTask("t1", "n1", "10.0.1.2", swarm.TaskStateAssigned)) })
		got := c.sent("n1")
		if len(got) != 1 || got[0].Seq != 2 || got[0].Full || len(got[0].Tasks) != 1 || len(got[0].Networks) != 1 {
			t.Fatalf("after the first task: %+v", got)
		}
		// The worker's own report is no news to it.
		c.set("t1", func(task *store.Task) { task.Status.State = swarm.TaskStatePreparing })
		if got := c.sent("n1"); len(got) != 1 {
			t.Errorf("a state that the worker reported came back: %+v", got[1:])
		}
		c.update(func(tx *store.Tx) { tx.Delete(tx.Task("t1")) })
		last := c.last("n1")
		want := map[bus.Resource]bool{{Kind: bus.KindTask, ID: "t1"}: true, {Kind: bus.KindNetwork, ID: net1}: true, {Kind: bus.KindService, ID: "svc"}: true}
		for _, r := range last.Removed {
			delete(want, r)
		}
		if last.Seq != 3 || len(want) > 0 {
			t.Errorf("after the task's removal: %+v, missing %v", last, want)
		}
	})
}

// twoNodes runs a task on n1 that n2 has in its tables.
func twoNodes(c *cluster) {
	c.join("n1", "10.0.1.250")
	c.join("n2", "10.0.1.251")
	c.update(func(tx *store.Tx) {
		tx.Put(network())
		tx.Put(webService())
		tx.Put(webTask("t1", "n1", "10.0.1.2", swarm.TaskStateRunning))
		tx.Put(webTask("t2", "n2", "10.0.1.3", swarm.TaskStateRunning))
	})
	c.confirm("n1")
	c.confirm("n2")
}

// A published port leads to a task from nodes that have none, and the answers have to find the way back.
func TestEveryNodeIsAPeerOnTheIngressNetwork(t *testing.T) {
	run(t, func(c *cluster) {
		c.join("n1", "10.0.1.250")
		c.join("n2", "10.0.1.251")
		c.update(func(tx *store.Tx) {
			n := network()
			n.Spec.Ingress = true
			tx.Put(n)
			tx.Put(webService())
			tx.Put(webTask("t1", "n1", "10.0.1.2", swarm.TaskStateRunning))
		})
		last := c.last("n1")
		if len(last.Networks) != 1 || len(last.Networks[0].Peers) != 1 || last.Networks[0].Peers[0].NodeIP != "10.0.1.251" {
			t.Errorf("peers of the only node with a task: %+v", last.Networks)
		}
	})
}

func stop(task *store.Task) { task.DesiredState = swarm.TaskStateShutdown }

func TestTaskStopsOnceEveryNodeHasTakenItOut(t *testing.T) {
	run(t, func(c *cluster) {
		twoNodes(c)
		c.set("t1", stop)
		last := c.last("n2")
		if len(last.Services) != 1 || len(last.Services[0].Backends) != 1 {
			t.Fatalf("n2 was not told to take t1 out: %+v", last)
		}
		c.confirm("n1")
		if c.stops("n1", "t1") {
			t.Fatal("t1 is stopped though n2 may still lead to it")
		}
		c.confirm("n2")
		if !c.stops("n1", "t1") {
			t.Error("t1 is not stopped though all nodes have confirmed")
		}
	})
}

func TestTaskStopsWithoutTheConfirmationOfASilentNode(t *testing.T) {
	run(t, func(c *cluster) {
		twoNodes(c)
		c.set("t1", stop)
		c.confirm("n1")
		time.Sleep(confirmWithin / 2)
		synctest.Wait()
		if c.stops("n1", "t1") {
			t.Fatal("stopped too early")
		}
		time.Sleep(confirmWithin)
		synctest.Wait()
		if !c.stops("n1", "t1") {
			t.Error("a silent node keeps a task running")
		}
	})
}

func TestTaskOutOfRotationStopsAtOnce(t *testing.T) {
	run(t, func(c *cluster) {
		c.join("n1", "10.0.1.250")
		c.update(func(tx *store.Tx) {
			tx.Put(network())
			tx.Put(webTask("t1", "n1", "10.0.1.2", swarm.TaskStateStarting))
		})
		c.set("t1", stop)
		if !c.stops("n1", "t1") {
			t.Error("a task that was never in rotation waits for confirmations")
		}
	})
}

func TestSilentNodeIsDownAfterThreeBeats(t *testing.T) {
	run(t, func(c *cluster) {
		c.join("n1", "10.0.1.250")
		start := time.Now()
		for c.store.View().Node("n1").Status.State != swarm.NodeStateDown && time.Since(start) < time.Minute {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if took := time.Since(start); took < 3*time.Second || took > 3500*time.Millisecond {
			t.Errorf("down after %v, want between 3 s and 3.5 s", took)
		}
		if _, err := c.d.Beat(c.t.Context(), bus.Beat{Node: "n1", Epoch: 7}); err == nil {
			t.Error("a node that was declared down must ask for its full set")
		}
		c.session("n1")
		if got := c.store.View().Node("n1").Status.State; got != swarm.NodeStateReady {
			t.Errorf("after a new session the node is %s", got)
		}
	})
}

func TestBeatOfAnotherEpochIsRefused(t *testing.T) {
	run(t, func(c *cluster) {
		c.join("n1", "10.0.1.250")
		if _, err := c.d.Beat(c.t.Context(), bus.Beat{Node: "n1", Epoch: 6}); err == nil {
			t.Error("a session with the leader before was taken for one with this leader")
		}
	})
}

func TestUnknownNodeHasNoSession(t *testing.T) {
	run(t, func(c *cluster) {
		if _, err := c.d.Session(c.t.Context(), bus.Session{Node: "stranger"}); err == nil {
			t.Error("a node that is not in the cluster got a session")
		}
	})
}

// A leader that takes over in the middle of a stop waits for the nodes anew.
func TestTaskStopsUnderANewLeaderOnceItsNodesHaveConfirmed(t *testing.T) {
	for _, silent := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t)
			c.update(func(tx *store.Tx) {
				tx.Put(network())
				tx.Put(webService())
				for i, node := range []string{"n1", "n2"} {
					n := &store.Node{NetworkAddrs: map[string]string{net1: fmt.Sprintf("10.0.1.25%d", i)}}
					n.ID, n.Status.State = node, swarm.NodeStateReady
					tx.Put(n)
				}
				task := webTask("t1", "n1", "10.0.1.2", swarm.TaskStateRunning)
				task.DesiredState = swarm.TaskStateShutdown
				tx.Put(task)
				tx.Put(webTask("t2", "n2", "10.0.1.3", swarm.TaskStateRunning))
			})
			c.start()
			full := c.session("n1")
			for _, task := range full.Tasks {
				if task.ID == "t1" && task.DesiredState != swarm.TaskStateRunning {
					t.Error("t1 is stopped before any node has said what it leads to")
				}
			}
			c.confirm("n1")
			if silent {
				time.Sleep(2 * confirmWithin)
				synctest.Wait()
			} else {
				c.session("n2")
				if c.stops("n1", "t1") {
					t.Error("t1 is stopped though n2 may still lead to it")
				}
				c.confirm("n2")
			}
			if !c.stops("n1", "t1") {
				t.Errorf("t1 is not stopped (silent node: %v)", silent)
			}
			c.stop()
		})
	}
}
