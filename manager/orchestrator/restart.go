package orchestrator

import (
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

const (
	// defaultDelay is the restart delay of a service that names none.
	defaultDelay = 5 * time.Second
	// stopTimeout is how long a new task waits for the end of the one that it
	// replaces, beyond that one's grace period: Swarm waits a minute in all.
	stopTimeout = time.Minute
	// keptFailures is how many failures of a slot are remembered: more than it
	// takes for the scheduler to prefer other nodes.
	keptFailures = 10
	// defaultGrace is the stop grace period of a service that names none.
	defaultGrace = 10 * time.Second
)

// restart makes another attempt at every slot whose task has ended, or is on a
// node that runs nothing any more.
func (p *pass) restart(s *slot) {
	for _, t := range s.live() {
		if p.move(s, t) {
			continue
		}
		if p.finished(t) || !t.Ended() && (t.NodeID == "" || !p.lost(t)) {
			continue
		}
		// One that ended before its restart delay was over (its image cannot be
		// pulled, say) has its delay still to serve.
		if t.DesiredState == swarm.TaskStateReady && t.Ended() && p.until(t.StartAt) {
			continue
		}
		p.replace(s, t)
	}
}

// finished says that the task is of a job and has done its part.
func (p *pass) finished(t *task) bool {
	return p.job() && t.Status.State == swarm.TaskStateComplete
}

func (p *pass) replace(s *slot, t *task) {
	waiting := next(t)
	p.stop(t)
	if !p.restartable(s, t) || slices.ContainsFunc(s.live(), p.underWay) {
		return
	}
	delay, other := p.delay(t), p.dirty(t)
	n := p.create(s)
	p.change(n, func(c *store.Task) {
		c.Replaces = t.ID
		if delay > 0 {
			c.StartAt = p.now.Add(delay)
		}
		// The update's own task that was lost, or failed later than it was
		// watched: the slot is not done again before this one runs.
		own := t.Rolled && !p.early(t, p.config().Monitor)
		// What failed before its slot's turn is followed by one that waits, too.
		c.Rolled = (other || own || waiting) && (p.rolling() || p.paused())
		if !other && !p.perNode() {
			c.Failures = failures(t)
		}
	})
}

// failures are t's and those before it.
func failures(t *task) []store.Failure {
	if !failed(t) {
		return t.Failures
	}
	all := append(slices.Clone(t.Failures), store.Failure{Node: t.NodeID, At: t.AppliedAt})
	return all[max(0, len(all)-keptFailures):]
}

// underWay says that the task is an attempt with the current spec which has not ended.
func (p *pass) underWay(t *task) bool { return !t.Ended() && !p.dirty(t) }

// delay is how long the restart of a task has to wait. What waits is a loop of
// failures: not a task that has lost its node, nor one with another spec.
func (p *pass) delay(t *task) time.Duration {
	if p.lost(t) {
		return max(0, t.StartAt.Sub(p.now))
	}
	if p.dirty(t) {
		return 0
	}
	if r := t.Spec.RestartPolicy; r != nil && r.Delay != nil {
		return *r.Delay
	}
	return defaultDelay
}

// restartable says whether the restart policy allows another attempt after t.
func (p *pass) restartable(s *slot, t *task) bool {
	policy := t.Spec.RestartPolicy
	if policy == nil {
		policy = &swarm.RestartPolicy{}
	}
	switch policy.Condition {
	case swarm.RestartPolicyConditionNone:
		return false
	case swarm.RestartPolicyConditionOnFailure:
		if t.Status.State == swarm.TaskStateComplete {
			return false
		}
	default:
		if p.finished(t) {
			return false // a job's success is never restarted
		}
	}
	if policy.MaxAttempts == nil || *policy.MaxAttempts == 0 {
		return true
	}
	return p.restarts(s, t, policy.Window) < *policy.MaxAttempts
}

// restarts counts the slot's restarts with t's spec, of the window before t's
// end if there is one. The task history keeps enough tasks to count (prune).
func (p *pass) restarts(s *slot, t *task, window *time.Duration) (n uint64) {
	first := true
	for _, other := range s.tasks {
		if other.SpecVersion != t.SpecVersion || !sameIteration(other, t) {
			continue
		}
		if first { // it was no restart
			first = false
			continue
		}
		if window == nil || *window == 0 || other.CreatedAt.After(t.AppliedAt.Add(-*window)) {
			n++
		}
	}
	return n
}

// promote lets the tasks run that have served their delay and whose
// predecessors have stopped.
func (p *pass) promote() {
	for _, s := range p.slots {
		for _, t := range s.tasks {
			if t.DesiredState != swarm.TaskStateReady || t.Ended() || p.until(t.StartAt) || next(t) || p.blocked(s, t) {
				continue
			}
			p.change(t, func(c *store.Task) {
				c.DesiredState = swarm.TaskStateRunning
				if p.job() {
					c.DesiredState = swarm.TaskStateComplete
				}
			})
		}
	}
}

// blocked says that another task of the slot has been told to stop and may
// still run. A node that is down cannot say, and is not waited for.
func (p *pass) blocked(s *slot, t *task) bool {
	for _, other := range s.tasks {
		if other.Wanted() || !other.Assigned() || other.Ended() {
			continue
		}
		if n := p.tx.Node(other.NodeID); n == nil || n.Status.State == swarm.NodeStateDown {
			continue
		}
		if p.until(t.CreatedAt.Add(max(stopTimeout, grace(other)+stopTimeout/2))) {
			return true
		}
	}
	return false
}

func grace(t *task) time.Duration {
	if c := t.Spec.ContainerSpec; c != nil && c.StopGracePeriod != nil {
		return *c.StopGracePeriod
	}
	return defaultGrace
}
