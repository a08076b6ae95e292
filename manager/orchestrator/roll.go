package orchestrator

import (
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// A slot is updated in two steps. Its new task is made while the old one runs,
// desired ready: it gets a node, its image, its container. That is done ahead of
// the slot's turn, so that an image that cannot be had takes nothing down and a
// turn is no longer than it has to be. With its turn the slot is switched: the
// new task may run, and the old one stops, before or after.

// next says that the task is made and waits while another has the slot.
func next(t *task) bool {
	return t.Rolled && t.DesiredState == swarm.TaskStateReady &&
		slices.ContainsFunc(t.slot.live(), func(other *task) bool { return other.DesiredState == swarm.TaskStateRunning })
}

// ahead says that the task waits for its slot's turn in the update at hand.
func (p *pass) ahead(t *task) bool { return next(t) && !p.dirty(t) }

// stale says that nothing in the slot is up to date, or takes its turn to be.
func (p *pass) stale(s *slot) bool {
	live := s.live()
	if len(live) == 0 {
		t := s.newest()
		return t != nil && p.dirty(t)
	}
	return !slices.ContainsFunc(live, func(t *task) bool { return !p.dirty(t) && !p.ahead(t) })
}

// settle leaves one task in a slot that has several wanted ones, an up-to-date
// one among them. With start-first the others go when that one runs, in a
// blue-green update with the update's end.
func (p *pass) settle(s *slot, order string) {
	for _, t := range s.live() {
		if next(t) && p.dirty(t) { // of an update that was superseded
			p.stop(t)
		}
	}
	live := s.live()
	best := p.best(live)
	if len(live) < 2 || best == nil {
		return
	}
	waits := order == swarm.UpdateOrderStartFirst && best.Status.State != swarm.TaskStateRunning || p.ahead(best) || p.blueGreen()
	for _, t := range live {
		if t != best && !(waits && (p.dirty(t) || p.leaves(t))) {
			p.stop(t)
		}
	}
}

// best is the up-to-date task that has come furthest, or nil.
func (p *pass) best(live []*task) (best *task) {
	for _, t := range live {
		if p.dirty(t) || t.Ended() || p.leaves(t) {
			continue
		}
		if best == nil || store.Rank(t.Status.State) > store.Rank(best.Status.State) {
			best = t
		}
	}
	return best
}

// busy says that the update has not done with the slot: its task has not come to
// run, or to an end, or did so less than the update's delay ago.
func (p *pass) busy(s *slot, delay time.Duration) bool {
	for _, t := range s.tasks {
		if !t.Rolled || p.dirty(t) || p.ahead(t) {
			continue
		}
		switch {
		case !t.RunningAt.IsZero():
			if p.until(t.RunningAt.Add(delay)) {
				return true
			}
		case t.Ended():
			if p.until(t.AppliedAt.Add(delay)) {
				return true
			}
		case t.Wanted():
			return true
		}
	}
	return false
}

// roll gives stale slots their turn as far as parallelism allows, and makes the
// tasks of those whose turn is next. Slots in which nothing runs go first: they
// cost nothing.
func (p *pass) roll(all, stale slots, busy int, c swarm.UpdateConfig) {
	allowed := min(len(stale), p.allowance(all))
	free := allowed
	if c.Parallelism > 0 {
		parallel := int(min(c.Parallelism, uint64(len(stale))))
		free = min(free, max(0, parallel-busy))
		allowed = min(allowed, free+parallel)
	}
	slices.SortStableFunc(stale, func(a, b *slot) int { return first(!a.running(), !b.running()) })
	for _, s := range stale[:allowed] {
		t := p.makeAhead(s)
		if free == 0 || t != nil && !p.mayTurn(t, c) {
			continue
		}
		p.turn(all, s, t, c.Order)
		free--
	}
}

// tried says that an attempt at the slot has failed, and that the update goes on
// nevertheless.
func (p *pass) tried(s *slot, c swarm.UpdateConfig) bool {
	return slices.ContainsFunc(s.tasks, func(t *task) bool {
		putUpWith := c.FailureAction == swarm.UpdateFailureActionContinue ||
			p.current() && slices.Contains(p.service.Rollout.Failed, t.ID)
		return t.SpecVersion == p.service.SpecVersion && putUpWith && p.early(t, c.Monitor)
	})
}

// givenUp says that the slot is left as it is: its new task has failed for good,
// and with start-first the old one goes for nobody but its successor.
func (p *pass) givenUp(s *slot, c swarm.UpdateConfig) bool {
	return c.Order == swarm.UpdateOrderStartFirst && !slices.ContainsFunc(s.live(), p.ahead) && p.tried(s, c)
}

// makeAhead is the task that the slot is to have next, made if need be; nil if
// the restart policy has given up on it.
func (p *pass) makeAhead(s *slot) *task {
	old := s.live()
	for _, t := range old {
		if p.ahead(t) {
			return t
		}
	}
	if p.tried(s, p.config()) {
		return nil
	}
	stays := p.serving(old)
	n := p.create(s)
	p.change(n, func(t *store.Task) {
		t.Rolled = true
		if stays != nil {
			t.Replaces = stays.ID
		}
	})
	for _, t := range old { // of an update that this one supersedes
		if t != stays {
			p.stop(t)
		}
	}
	return n
}

// serving is the task, of those that are out of date, which the slot goes on with.
func (p *pass) serving(old []*task) *task {
	var best *task
	worth := func(t *task) int {
		switch {
		case t.Status.State != swarm.TaskStateRunning:
			return 0
		case t.Standby:
			return 1
		}
		return 2
	}
	for _, t := range old {
		if best == nil || worth(t) > worth(best) {
			best = t
		}
	}
	return best
}

// mayTurn says that nothing is gained by waiting: the new task is prepared, or
// cannot be before the old one is gone, as what that holds is all there is, or
// has failed and is to be put up with. An old one that does not run is not
// waited for.
func (p *pass) mayTurn(t *task, c swarm.UpdateConfig) bool {
	if c.Order == swarm.UpdateOrderStartFirst || !t.slot.running() || p.tried(t.slot, c) {
		return true
	}
	unplaceable := !t.Assigned() && t.Status.Err != ""
	return unplaceable || store.Rank(t.Status.State) >= store.Rank(swarm.TaskStateReady) && !t.Ended()
}

// turn lets the new task run, if there is one: beside the old one, or after it.
func (p *pass) turn(all slots, s *slot, t *task, order string) {
	if t != nil && order == swarm.UpdateOrderStartFirst {
		standby := p.blueGreen() && slices.ContainsFunc(all, (*slot).running)
		p.change(t, func(c *store.Task) { c.DesiredState, c.Standby = swarm.TaskStateRunning, standby })
		return
	}
	for _, other := range s.live() {
		if other != t {
			p.stop(other)
		}
	}
}
