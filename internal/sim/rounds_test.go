package sim_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/sim"
	"orch/internal/store"
	engine "orch/worker/engine/sim"
)

var rounds = flag.Int("rounds", 3, "how many rounds of faults each random sequence has")

// settleWithin is the time from the last fault until everything is as it is asked to be.
const settleWithin = 30 * time.Second

// eachSeed runs fn for every random sequence that the flags ask for.
func eachSeed(t *testing.T, fn func(*testing.T, *sim.Cluster, *rand.Rand)) {
	first, n := uint64(time.Now().UnixNano()), *runs
	if *seed != 0 {
		first, n = *seed, 1
	}
	for i := range n {
		t.Run(fmt.Sprintf("seed=%d", first+i), func(t *testing.T) { inCluster(t, first+i, fn) })
	}
}

// ledger is what clients have been told: writes that were acknowledged, and those of which nobody can say.
type ledger struct {
	made, removed map[string]bool // configs
	last          uint64          // of the numbers written to the service
	acknowledged  uint64
	n             int
}

// write makes one random write through some manager.
func (l *ledger) write(c *sim.Cluster, r *rand.Rand) {
	switch r.IntN(4) {
	case 0:
		l.n++
		id := fmt.Sprintf("c%d", l.n)
		err := c.TryUpdate(func(tx *store.Tx) {
			o := &store.Config{}
			o.ID, o.Spec.Name = id, id
			tx.Put(o)
		})
		if err == nil {
			l.made[id] = true
		}
	case 1:
		if len(l.made) == 0 {
			return
		}
		id := slices.Sorted(keys(l.made))[r.IntN(len(l.made))]
		err := c.TryUpdate(func(tx *store.Tx) {
			if o := tx.Config(id); o != nil {
				tx.Delete(o)
			}
		})
		delete(l.made, id)
		if err == nil {
			l.removed[id] = true
		}
	case 2:
		l.last++
		if tryChange(c, "web", func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate = l.last }) == nil {
			l.acknowledged = l.last
		}
	case 3:
		_ = tryChange(c, "web", func(s *swarm.ServiceSpec) { s.Mode = replicated(uint64(1 + r.IntN(6))) })
	}
}

func keys(m map[string]bool) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// check holds every manager to what clients have been told.
func (l *ledger) check(t *testing.T, c *sim.Cluster) {
	t.Helper()
	for i, v := range c.Views() {
		for id := range l.made {
			if v.Config(id) == nil {
				t.Errorf("manager %d lost %s, whose creation was acknowledged", i, id)
			}
		}
		for id := range l.removed {
			if v.Config(id) != nil {
				t.Errorf("manager %d has %s again, whose removal was acknowledged", i, id)
			}
		}
		if got := v.Service("web").Spec.TaskTemplate.ForceUpdate; got < l.acknowledged || got > l.last {
			t.Errorf("manager %d has change %d of the service; %d was acknowledged and %d the last", i, got, l.acknowledged, l.last)
		}
	}
}

// fault does something random to the cluster or its network.
func fault(c *sim.Cluster, r *rand.Rand) {
	n := c.Nodes[r.IntN(len(c.Nodes))]
	delay := time.Duration(r.IntN(1500)) * time.Millisecond
	switch r.IntN(12) {
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
		n.Slow(delay)
	case 6, 7:
		c.Lead()
	case 8:
		c.Disturb(r.IntN(3), 0.3, delay/3)
	case 9:
		c.Calm()
	case 10:
		if running := n.Running(); len(running) > 0 {
			n.Engine.Die(running[r.IntN(len(running))], r.IntN(2))
		}
	case 11:
		op := []engine.Op{engine.OpCreate, engine.OpStart, engine.OpStop, engine.OpRemove}[r.IntN(4)]
		n.Engine.FailNext(op, fmt.Errorf("a simulated fault"))
	}
}

// Messages are lost and late, nodes die, leaders change, engines fail, and clients
// write all the while. In every round, once it stops: no acknowledged write is
// lost, nothing removed is back, no slot has two tasks that run, and all that is
// asked for runs, within half a minute.
func TestRoundsOfFaults(t *testing.T) {
	eachSeed(t, func(t *testing.T, c *sim.Cluster, r *rand.Rand) {
		c.Update(func(tx *store.Tx) {
			tx.Put(newService("web", replicated(4)))
			tx.Put(newService("agent", swarm.ServiceMode{Global: &swarm.GlobalService{}}))
		})
		l := &ledger{made: map[string]bool{}, removed: map[string]bool{}}
		for round := range *rounds {
			for range 15 {
				if r.IntN(3) == 0 {
					l.write(c, r)
				} else {
					fault(c, r)
				}
				pass(time.Duration(r.IntN(2000)) * time.Millisecond)
			}
			c.Calm()
			for _, n := range c.Nodes {
				n.Heal()
			}
			pass(settleWithin)
			truth(t, c, map[string]int{"agent": 4, "web": int(*c.View().Service("web").Spec.Mode.Replicated.Replicas)})
			l.check(t, c)
			oneOwner(t, c)
			if t.Failed() {
				t.Fatalf("in round %d", round+1)
			}
		}
	})
}

// tryChange is change where the write may be lost.
func tryChange(c *sim.Cluster, id string, fn func(*swarm.ServiceSpec)) error {
	return c.TryUpdate(func(tx *store.Tx) {
		s := *tx.Service(id)
		before, container := s.Spec, *s.Spec.TaskTemplate.ContainerSpec
		s.PreviousSpec, s.Spec.TaskTemplate.ContainerSpec = &before, &container
		fn(&s.Spec)
		s.SpecVersion++
		s.UpdateStatus, s.Rollout = nil, nil
		tx.Put(&s)
	})
}
