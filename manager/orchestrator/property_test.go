package orchestrator_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
	"orch/manager/orchestrator"
)

var (
	seed = flag.Uint64("seed", 0, "run the random sequences with this seed only")
	runs = flag.Uint64("runs", 30, "how many random sequences to run")
)

// seeds runs fn with random sources, each with its own printed seed.
func seeds(t *testing.T, fn func(*testing.T, *rand.Rand)) {
	first, n := uint64(time.Now().UnixNano()), *runs
	if *seed != 0 {
		first, n = *seed, 1
	}
	for i := range n {
		t.Run(fmt.Sprintf("seed=%d", first+i), func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, first+i)
			fn(t, rand.New(rand.NewPCG(first+i, 0)))
		})
	}
}

// owners checks that no slot has two tasks that may run, but for start-first.
func (c *cluster) owners(service string) {
	type slot struct {
		number int
		node   string
	}
	s := c.service(service)
	if s == nil {
		return
	}
	owners := map[slot][]*store.Task{}
	for _, t := range c.tasks(service) {
		if t.Ended() || !t.Assigned() || c.silent[t.NodeID] || c.lost[t.ID] {
			continue
		}
		// One that is desired ready is prepared, and does not run.
		if t.DesiredState == swarm.TaskStateReady || store.Rank(t.Status.State) < store.Rank(swarm.TaskStateRunning) && !t.Wanted() {
			continue
		}
		k := slot{number: t.Slot}
		if s.Spec.Mode.Global != nil {
			k.node = t.NodeID
		}
		owners[k] = append(owners[k], t)
	}
	for k, tasks := range owners {
		if len(tasks) > 1 {
			c.t.Errorf("slot %v has %d owners: %v", k, len(tasks), shape(c.tasks(service)))
			c.t.FailNow()
		}
	}
}

// addresses checks that no address is held twice.
func (c *cluster) addresses() {
	held := map[string]string{}
	hold := func(addr, by string) {
		addr, _, _ = strings.Cut(addr, "/")
		if other := held[addr]; other != "" && other != by {
			c.t.Fatalf("%s is held by %s and %s", addr, other, by)
		}
		held[addr] = by
	}
	v := c.store.View()
	for _, s := range v.Services(store.All()) {
		for _, vip := range s.Endpoint.VirtualIPs {
			hold(vip.Addr, s.ID)
		}
	}
	for _, n := range v.Nodes(store.All()) {
		for _, addr := range n.NetworkAddrs {
			hold(addr, n.ID)
		}
	}
	for _, t := range v.Tasks(store.All()) {
		for _, at := range t.NetworksAttachments {
			for _, addr := range at.Addresses {
				if !t.Ended() {
					hold(addr, t.ID)
				}
			}
		}
	}
}

// converged checks that the service is what its spec asks for.
func (c *cluster) converged(service string, want int) {
	c.t.Helper()
	s := c.service(service)
	running := c.running(service)
	if len(running) != want {
		c.t.Fatalf("%d tasks of %s run, want %d: %v (%v)", len(running), service, want, shape(c.tasks(service)), s.UpdateStatus)
	}
	for _, t := range running {
		if orchestrator.Dirty(s, t, c.store.View().Node(t.NodeID)) {
			c.t.Fatalf("slot %d of %s is out of date: %v", t.Slot, service, s.UpdateStatus)
		}
	}
	for _, t := range c.tasks(service) {
		if !t.Ended() && t.DesiredState != swarm.TaskStateRunning {
			c.t.Fatalf("left over: %v", shape(c.tasks(service)))
		}
	}
	if u := s.UpdateStatus; u != nil && (u.State == swarm.UpdateStateUpdating || u.State == swarm.UpdateStateRollbackStarted) {
		c.t.Fatalf("the update of %s never ends: %+v", service, *u)
	}
}

// chaos does something random to the cluster.
func (c *cluster) chaos(r *rand.Rand, images *int) {
	node := fmt.Sprintf("n%d", 1+r.IntN(4))
	service := []string{"web", "agent"}[r.IntN(2)]
	switch r.IntN(9) {
	case 0, 1:
		*images++
		c.image(service, fmt.Sprintf("v%d", *images))
	case 2:
		n := uint64(r.IntN(8))
		c.change("web", func(s *swarm.ServiceSpec) { s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &n} })
	case 3:
		if running := c.running(service); len(running) > 0 {
			c.fail(running[r.IntN(len(running))])
		}
	case 4:
		c.down(node)
	case 5:
		c.heal(node)
	case 6:
		c.node(node, func(n *store.Node) {
			n.Spec.Availability = []swarm.NodeAvailability{swarm.NodeAvailabilityDrain, swarm.NodeAvailabilityPause, swarm.NodeAvailabilityActive}[r.IntN(3)]
		})
	case 7:
		c.change(service, func(s *swarm.ServiceSpec) { s.Labels = map[string]string{"n": fmt.Sprint(r.IntN(3))} })
	case 8: // another leader, which knows nothing but the store
		c.due = map[string]time.Time{"web": time.Now(), "agent": time.Now()}
	}
}

func (c *cluster) down(id string) {
	c.node(id, func(n *store.Node) { n.Status.State = swarm.NodeStateDown })
	// What runs there goes on unseen, and is counted by nobody.
	for _, t := range c.store.View().Tasks(store.OnNode(id)) {
		if !t.Ended() {
			c.lost[t.ID] = true
		}
	}
}

func (c *cluster) heal(id string) {
	c.node(id, func(n *store.Node) {
		n.Status.State, n.DownAt, n.Spec.Availability = swarm.NodeStateReady, time.Time{}, swarm.NodeAvailabilityActive
	})
}

// Whatever happens: a slot has one owner, an address one holder, and once
// nothing happens any more the services are what they are asked to be.
func TestConvergesAfterAnySequence(t *testing.T) {
	seeds(t, func(t *testing.T, r *rand.Rand) {
		simulate(t, 4, func(c *cluster) {
			c.checkup = func() { c.owners("web"); c.owners("agent"); c.addresses() }
			net := &store.Network{}
			net.ID, net.Spec.Name = "net", "net"
			c.update(func(tx *store.Tx) { tx.Put(net) })
			config := &swarm.UpdateConfig{
				Parallelism: uint64(r.IntN(3)), Monitor: time.Second, Delay: time.Duration(r.IntN(2)) * time.Second,
				FailureAction: []string{swarm.UpdateFailureActionContinue, swarm.UpdateFailureActionRollback}[r.IntN(2)],
			}
			for _, s := range []*store.Service{newService("web", 4), newGlobal("agent")} {
				s.Spec.UpdateConfig, s.Spec.RollbackConfig = config, config
				s.Spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "net"}}
				c.put(s)
			}
			images := 1
			for range 40 {
				c.chaos(r, &images)
				c.run(time.Duration(r.IntN(1500)) * time.Millisecond)
			}
			for i := range 4 {
				c.heal(fmt.Sprintf("n%d", i+1))
			}
			// A pause is for people to end.
			for _, id := range []string{"web", "agent"} {
				c.change(id, func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ })
			}
			c.run(5 * time.Minute)
			c.converged("web", int(*c.service("web").Spec.Mode.Replicated.Replicas))
			c.converged("agent", 4)
		})
	})
}

// Where nothing else fails, an update keeps as many tasks running as its order
// and parallelism promise, however often it is superseded, and ends.
func TestUpdatesKeepTheirPromise(t *testing.T) {
	seeds(t, func(t *testing.T, r *rand.Rand) {
		simulate(t, 3, func(c *cluster) {
			replicas, parallelism := 1+r.IntN(8), 1+r.IntN(3)
			config := &swarm.UpdateConfig{
				Parallelism: uint64(parallelism), Monitor: time.Second,
				FailureAction: []string{swarm.UpdateFailureActionPause, swarm.UpdateFailureActionRollback}[r.IntN(2)],
				Order:         []string{swarm.UpdateOrderStopFirst, swarm.UpdateOrderStartFirst}[r.IntN(2)],
			}
			promise := replicas
			if config.Order == swarm.UpdateOrderStopFirst {
				promise -= parallelism
			}
			s := newService("web", uint64(replicas))
			s.Spec.UpdateConfig, s.Spec.RollbackConfig = config, config
			c.put(s)
			c.run(time.Second)
			c.fate = breaks("bad")
			c.checkup = func() {
				if n := len(c.running("web")); n < promise {
					t.Fatalf("%d of %d run, %s with parallelism %d: %v %s", n, replicas, config.Order, parallelism, shape(c.tasks("web")), c.status())
				}
			}
			for i := range 10 {
				c.image("web", []string{fmt.Sprintf("v%d", i+2), "bad"}[r.IntN(2)])
				c.run(time.Duration(r.IntN(4000)) * time.Millisecond)
			}
			c.run(time.Minute)
			// None: the last update asked for what there was already.
			ended := []string{"none", "completed", "paused", "rollback_completed", "rollback_paused"}
			if state, _, _ := strings.Cut(c.status(), ":"); !slices.Contains(ended, state) {
				t.Fatalf("the update did not end: %s %v", c.status(), shape(c.tasks("web")))
			}
			c.image("web", "last")
			c.run(time.Minute)
			c.converged("web", replicas)
		})
	})
}
