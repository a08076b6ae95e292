package sim_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"orch/internal/sim"
	"orch/internal/store"
	engine "orch/worker/engine/sim"
)

var (
	seed = flag.Uint64("seed", 0, "run only the sequence with this seed")
	runs = flag.Uint64("runs", 4, "how many random sequences to run")
)

// inCluster runs fn in a bubble with a cluster of three managers and four nodes.
func inCluster(t *testing.T, seed uint64, fn func(*testing.T, *sim.Cluster, *rand.Rand)) {
	cryptotest.SetGlobalRandom(t, seed)
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 1))
		c, stop := sim.New(t, r, 3, 4)
		defer stop()
		pass(5 * time.Second)
		fn(t, c, r)
	})
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func newService(id string, mode swarm.ServiceMode) *store.Service {
	s := &store.Service{SpecVersion: 1}
	s.ID, s.Spec.Name, s.Spec.Mode = id, id, mode
	s.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: sim.Image, Command: []string{"/t", "sleep"}}
	s.Spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Delay: new(time.Duration)}
	s.Spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: 2, Monitor: time.Second, FailureAction: swarm.UpdateFailureActionContinue}
	return s
}

func replicated(n uint64) swarm.ServiceMode {
	return swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}}
}

// change changes a service's spec as the API does.
func change(c *sim.Cluster, id string, fn func(*swarm.ServiceSpec)) {
	c.Update(func(tx *store.Tx) {
		s := *tx.Service(id)
		before, container := s.Spec, *s.Spec.TaskTemplate.ContainerSpec
		s.PreviousSpec, s.Spec.TaskTemplate.ContainerSpec = &before, &container
		fn(&s.Spec)
		s.SpecVersion++
		s.UpdateStatus = nil
		tx.Put(&s)
	})
}

// truth checks that what runs is what the state says, and what is asked for.
func truth(t *testing.T, c *sim.Cluster, want map[string]int) {
	t.Helper()
	var said, real []string
	count := map[string]int{}
	for _, task := range c.View().Tasks(store.All()) {
		if !task.Ended() {
			name := fmt.Sprintf("%s.%d.%s", task.ServiceName, task.Slot, task.ID)
			if task.Slot == 0 {
				name = fmt.Sprintf("%s.%s.%s", task.ServiceName, task.NodeID, task.ID)
			}
			said = append(said, task.NodeID+" "+name)
			if task.Status.State == swarm.TaskStateRunning && task.Wanted() {
				count[task.ServiceID]++
			}
		}
	}
	for _, n := range c.Nodes {
		for _, name := range n.Running() {
			real = append(real, n.ID+" "+name)
		}
	}
	slices.Sort(said)
	slices.Sort(real)
	if diff := cmp.Diff(said, real); diff != "" {
		t.Errorf("the state, and what runs: %s", diff)
	}
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("running tasks: %s", diff)
	}
}

func TestServiceRunsAndGoes(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, c *sim.Cluster, _ *rand.Rand) {
		c.Update(func(tx *store.Tx) {
			tx.Put(newService("web", replicated(5)))
			tx.Put(newService("agent", swarm.ServiceMode{Global: &swarm.GlobalService{}}))
		})
		pass(5 * time.Second)
		truth(t, c, map[string]int{"web": 5, "agent": 4})
		c.Update(func(tx *store.Tx) { tx.Delete(tx.Service("web")) })
		pass(5 * time.Second)
		truth(t, c, map[string]int{"agent": 4})
	})
}

func TestKilledProcessIsReplacedAtOnce(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, c *sim.Cluster, _ *rand.Rand) {
		c.Update(func(tx *store.Tx) { tx.Put(newService("web", replicated(1))) })
		pass(5 * time.Second)
		for _, n := range c.Nodes {
			for _, name := range n.Running() {
				n.Engine.Die(name, 1)
			}
		}
		pass(200 * time.Millisecond) // the engine takes 150 ms to create and start
		truth(t, c, map[string]int{"web": 1})
	})
}

func TestLostNodeIsReplacedAndReturns(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, c *sim.Cluster, _ *rand.Rand) {
		c.Update(func(tx *store.Tx) { tx.Put(newService("web", replicated(4))) })
		pass(5 * time.Second)
		c.Nodes[0].Cut()
		pass(5 * time.Second)
		running := 0
		for _, n := range c.Nodes[1:] {
			running += len(n.Running())
		}
		if running != 4 {
			t.Errorf("%d tasks run on the nodes that are left", running)
		}
		c.Nodes[0].Heal()
		pass(5 * time.Second)
		truth(t, c, map[string]int{"web": 4})
	})
}

func TestUpdateGoesOnUnderAnotherLeader(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, c *sim.Cluster, _ *rand.Rand) {
		web := newService("web", replicated(6))
		web.Spec.UpdateConfig.Delay = time.Second
		c.Update(func(tx *store.Tx) { tx.Put(web) })
		pass(5 * time.Second)
		change(c, "web", func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ })
		for range 4 { // three rounds of two tasks, each followed by the delay
			pass(700 * time.Millisecond)
			c.Lead()
		}
		pass(30 * time.Second)
		truth(t, c, map[string]int{"web": 6})
		if u := c.View().Service("web").UpdateStatus; u == nil || u.State != swarm.UpdateStateCompleted {
			t.Errorf("update status %+v", u)
		}
		for _, task := range c.View().Tasks(store.OfService("web")) {
			if task.Wanted() && task.Spec.ForceUpdate != 1 {
				t.Errorf("slot %d is out of date", task.Slot)
			}
		}
	})
}

// disturb does something random to the cluster.
func disturb(c *sim.Cluster, r *rand.Rand) {
	n := c.Nodes[r.IntN(len(c.Nodes))]
	switch r.IntN(10) {
	case 0:
		n.Cut()
	case 1:
		n.Heal()
	case 2:
		n.Restart()
	case 3:
		n.Reboot()
	case 4:
		n.Lossy(0.3)
	case 5:
		c.Lead()
	case 6:
		if running := n.Running(); len(running) > 0 {
			n.Engine.Die(running[r.IntN(len(running))], r.IntN(2))
		}
	case 7:
		change(c, []string{"web", "agent"}[r.IntN(2)], func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ })
	case 8:
		change(c, "web", func(s *swarm.ServiceSpec) { s.Mode = replicated(uint64(r.IntN(7))) })
	case 9:
		n.Engine.FailNext([]engine.Op{engine.OpCreate, engine.OpStart, engine.OpStop, engine.OpRemove}[r.IntN(4)], fmt.Errorf("a simulated fault"))
	}
}

// Whatever fails when: once faults stop, exactly what is asked for runs, and the
// state says so.
func TestConvergesOnceFaultsStop(t *testing.T) {
	first, n := uint64(time.Now().UnixNano()), *runs
	if *seed != 0 {
		first, n = *seed, 1
	}
	for i := range n {
		t.Run(fmt.Sprintf("seed=%d", first+i), func(t *testing.T) {
			inCluster(t, first+i, func(t *testing.T, c *sim.Cluster, r *rand.Rand) {
				c.Update(func(tx *store.Tx) {
					tx.Put(newService("web", replicated(4)))
					tx.Put(newService("agent", swarm.ServiceMode{Global: &swarm.GlobalService{}}))
				})
				for range 30 {
					disturb(c, r)
					pass(time.Duration(r.IntN(3000)) * time.Millisecond)
					oneOwner(t, c)
				}
				for _, n := range c.Nodes {
					n.Heal()
				}
				pass(5 * time.Minute)
				want := map[string]int{"agent": 4}
				if n := int(*c.View().Service("web").Spec.Mode.Replicated.Replicas); n > 0 {
					want["web"] = n
				}
				truth(t, c, want)
			})
		})
	}
}

// oneOwner checks that each slot has one task that is to run at the most.
func oneOwner(t *testing.T, c *sim.Cluster) {
	t.Helper()
	owner := map[string]string{}
	for _, task := range c.View().Tasks(store.All()) {
		if task.DesiredState != swarm.TaskStateRunning || task.Ended() {
			continue
		}
		slot := fmt.Sprintf("%s.%d", task.ServiceID, task.Slot)
		if task.Slot == 0 {
			slot = task.ServiceID + "." + task.NodeID
		}
		if other := owner[slot]; other != "" {
			t.Fatalf("slot %s belongs to %s and %s", slot, other, task.ID)
		}
		owner[slot] = task.ID
	}
}
