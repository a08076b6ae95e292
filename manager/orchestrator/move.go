package orchestrator

import (
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// A task moves when its node is drained, or when a rebalance has marked it. Both go by
// the update order of the service: with start-first the old task stops once the new one runs.

// leaves says that the task is to go on on another node, while its own is well.
func (p *pass) leaves(t *task) bool {
	if t.NodeID == "" || t.Ended() || p.service == nil || p.perNode() || p.job() {
		return false
	}
	n := p.tx.Node(t.NodeID)
	return n != nil && n.Status.State != swarm.NodeStateDown && (t.Moving || n.Spec.Availability == swarm.NodeAvailabilityDrain)
}

// move brings a task that leaves a step further, and says whether that was all there is to do for it.
func (p *pass) move(s *slot, t *task) bool {
	if !p.leaves(t) {
		return false
	}
	stays := slices.IndexFunc(s.live(), func(other *task) bool { return other.Task != t.Task && !other.Ended() && !p.leaves(other) })
	switch {
	case stays >= 0: // settle stops t when that one runs
		return true
	case p.config().Order == swarm.UpdateOrderStartFirst && t.Status.State == swarm.TaskStateRunning:
		p.succeed(s, t, swarm.TaskStateRunning)
		return true
	case t.Moving:
		p.stop(t)
		p.succeed(s, t, swarm.TaskStateReady)
		return true
	}
	return false // a drained node's: as Swarm does it
}

// staying counts the slot's wanted tasks that do not leave.
func (p *pass) staying(s *slot) (n int) {
	for _, t := range s.live() {
		if !p.leaves(t) {
			n++
		}
	}
	return n
}

// succeed makes the task that takes t's place. It is no restart: no policy has a say in it.
func (p *pass) succeed(s *slot, t *task, desired swarm.TaskState) {
	n := p.create(s)
	p.change(n, func(c *store.Task) { c.Replaces, c.DesiredState = t.ID, desired })
}
