package orchestrator

import (
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// orphanAfter is how long a node may be down before its tasks are given up.
const orphanAfter = 24 * time.Hour

// giveUpLost ends the tasks of nodes that are removed, or down for a day.
func (p *pass) giveUpLost() {
	for _, t := range p.slots.tasks() {
		if !t.Assigned() || t.Ended() {
			continue
		}
		switch n := p.tx.Node(t.NodeID); {
		case n == nil:
			p.orphan(t, "Task belonged to a node that has been deleted")
		case n.Status.State == swarm.NodeStateDown && !p.until(downAt(n).Add(orphanAfter)):
			p.orphan(t, t.Status.Message)
		}
	}
}

func downAt(n *store.Node) time.Time {
	if n.DownAt.IsZero() {
		return n.UpdatedAt
	}
	return n.DownAt
}

func (p *pass) orphan(t *task, message string) {
	p.change(t, func(c *store.Task) {
		c.Status.State, c.Status.Message, c.Status.Timestamp = swarm.TaskStateOrphaned, message, p.now
		c.AppliedAt = p.now
	})
}

// sweep forgets the tasks that were to be removed and have ended: that takes
// them off their workers, which then remove the containers.
func (p *pass) sweep() {
	for _, t := range p.slots.tasks() {
		if t.DesiredState == swarm.TaskStateRemove && (t.Ended() || !t.Assigned()) {
			p.forget(t)
		}
	}
}

// prune forgets the oldest tasks of each slot beyond the task history, which
// counts the live task too. Restart attempts have to stay countable.
func (p *pass) prune() {
	limit := p.history
	if r := p.service.Spec.TaskTemplate.RestartPolicy; r != nil && r.MaxAttempts != nil && *r.MaxAttempts > 0 {
		limit = int(*r.MaxAttempts) + 1
	}
	if limit < 0 {
		return
	}
	for _, s := range p.slots {
		newest := s.newest()
		for _, t := range slices.Clone(s.tasks) {
			if len(s.tasks) <= limit {
				break
			}
			// The last attempt is what says that a slot is not to be filled again.
			if !t.Wanted() && t != newest && (t.Ended() || !t.Assigned()) {
				p.forget(t)
			}
		}
	}
}
