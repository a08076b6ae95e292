package sim_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/sim"
	"orch/internal/store"
	"orch/manager/orchestrator"
)

// promise holds every transaction of an update to what its order and parallelism promise, whatever has failed by then: start-first
// never stops a task that runs before its successor runs; stop-first never while as many slots as it may take at once are without one.
type promise struct {
	t        *testing.T
	replicas int
	config   swarm.UpdateConfig
}

func (p promise) check(before, after *store.View) {
	s := after.Service("web")
	if s == nil || p.t.Failed() {
		return
	}
	for _, was := range before.Tasks(store.OfService("web")) {
		now := after.Task(was.ID)
		if now == nil || !p.stopped(after, was, now) {
			continue
		}
		if p.config.Order == swarm.UpdateOrderStartFirst {
			if !slotRuns(after, was.Slot) {
				p.t.Errorf("slot %d: %s was stopped before its successor ran", was.Slot, was.ID)
			}
			continue
		}
		if n, least := runningTasks(after), p.replicas-int(p.config.Parallelism); n < least {
			p.t.Errorf("slot %d: %s was stopped though that leaves %d running, below %d", was.Slot, was.ID, n, least)
		}
	}
}

// stopped says that the update, and nothing else, stopped a task that ran.
func (p promise) stopped(v *store.View, was, now *store.Task) bool {
	if was.DesiredState != swarm.TaskStateRunning || now.DesiredState != swarm.TaskStateShutdown || now.Status.State != swarm.TaskStateRunning {
		return false
	}
	n := v.Node(was.NodeID)
	return n != nil && n.Status.State != swarm.NodeStateDown && orchestrator.Dirty(v.Service("web"), was, n)
}

func slotRuns(v *store.View, slot int) bool {
	for _, t := range v.Tasks(store.OfService("web")) {
		if t.Slot == slot && t.Wanted() && t.Status.State == swarm.TaskStateRunning {
			return true
		}
	}
	return false
}

func runningTasks(v *store.View) (n int) {
	for _, t := range v.Tasks(store.OfService("web")) {
		if t.Wanted() && t.Status.State == swarm.TaskStateRunning {
			n++
		}
	}
	return n
}

// ended are the states in which an update may be left.
var ended = map[swarm.UpdateState]bool{
	swarm.UpdateStateCompleted: true, swarm.UpdateStatePaused: true, swarm.UpdateStateRollbackCompleted: true, swarm.UpdateStateRollbackPaused: true,
}

// Good and broken updates under faults of every kind: the promise holds in every
// transaction, and every update ends as completed, paused or rolled back.
func TestUpdatesKeepTheirPromiseUnderFaults(t *testing.T) {
	eachSeed(t, func(t *testing.T, c *sim.Cluster, r *rand.Rand) {
		p := promise{t: t, replicas: 2 + r.IntN(6)}
		p.config = swarm.UpdateConfig{
			Parallelism: uint64(1 + r.IntN(2)), Monitor: time.Second, Delay: time.Duration(r.IntN(2)) * time.Second,
			Order:         []string{swarm.UpdateOrderStopFirst, swarm.UpdateOrderStartFirst}[r.IntN(2)],
			FailureAction: []string{swarm.UpdateFailureActionPause, swarm.UpdateFailureActionRollback}[r.IntN(2)],
		}
		web := newService("web", replicated(uint64(p.replicas)))
		web.Spec.UpdateConfig, web.Spec.RollbackConfig = &p.config, &p.config
		c.Update(func(tx *store.Tx) { tx.Put(web) })
		pass(10 * time.Second)
		c.Observe(p.check)
		for n := range *rounds {
			broken := r.IntN(3) == 0
			change(c, "web", func(s *swarm.ServiceSpec) {
				s.TaskTemplate.ForceUpdate = uint64(n + 1)
				s.TaskTemplate.ContainerSpec.Args = nil
				if broken {
					s.TaskTemplate.ContainerSpec.Args = []string{"exit", "1"}
				}
			})
			for range 6 {
				pass(time.Duration(r.IntN(1500)) * time.Millisecond)
				fault(c, r)
			}
			c.Calm()
			for _, n := range c.Nodes {
				n.Heal()
			}
			pass(settleWithin)
			u := c.View().Service("web").UpdateStatus
			switch {
			case u == nil || !ended[u.State]:
				t.Errorf("the update is left in nothing: %+v", u)
			case broken && u.State == swarm.UpdateStateCompleted:
				t.Errorf("a broken update completed")
			}
			if t.Failed() {
				t.Fatalf("in round %d, %d replicas, %s: %v", n+1, p.replicas, describe(p.config), tasksOf(c))
			}
		}
	})
}

func describe(c swarm.UpdateConfig) string {
	return fmt.Sprintf("%s, parallelism %d, delay %s, %s on failure", c.Order, c.Parallelism, c.Delay, c.FailureAction)
}

func tasksOf(c *sim.Cluster) (lines []string) {
	for _, t := range c.View().Tasks(store.OfService("web")) {
		lines = append(lines, fmt.Sprintf("%d %s #%d on %s %s/%s %s", t.Slot, t.ID[:4], t.Spec.ForceUpdate, t.NodeID, t.DesiredState, t.Status.State, t.Status.Err))
	}
	return lines
}
