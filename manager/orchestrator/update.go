package orchestrator

import (
	"fmt"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// defaultMonitor is how long a new task is watched if the service does not say.
const defaultMonitor = 5 * time.Second

// rolling says that a rolling update, or rollback, is under way.
func (p *pass) rolling() bool {
	u := p.service.UpdateStatus
	return u != nil && (u.State == swarm.UpdateStateUpdating || u.State == swarm.UpdateStateRollbackStarted)
}

func (p *pass) rollingBack() bool {
	u := p.service.UpdateStatus
	return u != nil && (u.State == swarm.UpdateStateRollbackStarted || u.State == swarm.UpdateStateRollbackPaused)
}

// config is the configuration of the update at hand, with Swarm's defaults.
func (p *pass) config() swarm.UpdateConfig {
	spec := p.service.Spec.UpdateConfig
	if p.rollingBack() {
		spec = p.service.Spec.RollbackConfig
	}
	c := swarm.UpdateConfig{Parallelism: 1}
	if spec != nil {
		c = *spec
	}
	if c.Monitor == 0 {
		c.Monitor = defaultMonitor
	}
	if c.FailureAction == "" {
		c.FailureAction = swarm.UpdateFailureActionPause
	}
	return c
}

// judge counts the update's tasks that failed while they were monitored, and
// takes the update's failure action if there are too many. It runs before
// anything else sees that they ended.
func (p *pass) judge() {
	c := p.config()
	if !p.rolling() || !p.current() || c.FailureAction == swarm.UpdateFailureActionContinue {
		return
	}
	for _, t := range p.slots.tasks() {
		if !p.fails(t, c.Monitor) {
			continue
		}
		p.changeRollout(func(r *store.Rollout) { r.Failed = append(slices.Clone(r.Failed), t.ID) })
		r := p.service.Rollout
		if float32(len(r.Failed))/float32(max(r.Slots, 1)) > c.MaxFailureRatio {
			p.abort(c, t.ID)
			return
		}
	}
}

// current says that the rollout on record is that of the spec at hand.
func (p *pass) current() bool {
	r := p.service.Rollout
	return r != nil && r.SpecVersion == p.service.SpecVersion && !r.Over
}

// fails says that the task is the update's, ended by itself within the monitored
// time, and has not been counted yet.
func (p *pass) fails(t *task, monitor time.Duration) bool {
	r := p.service.Rollout
	if !t.Rolled || p.dirty(t) || !t.Wanted() || slices.Contains(r.Failed, t.ID) {
		return false
	}
	if !failed(t) && t.Status.State != swarm.TaskStateComplete {
		return false
	}
	return t.RunningAt.IsZero() || t.AppliedAt.Sub(t.RunningAt) <= monitor
}

// abort takes the failure action.
func (p *pass) abort(c swarm.UpdateConfig, taskID string) {
	const because = " due to failure or early termination of task "
	switch back := p.rollingBack(); {
	case c.FailureAction != swarm.UpdateFailureActionRollback:
		p.pause("update paused" + because + taskID)
	case back:
		p.pause("rollback paused" + because + taskID)
	case p.service.PreviousSpec == nil:
		p.pause("update paused" + because + taskID)
	default:
		p.rollBack("update rolled back" + because + taskID)
	}
}

func (p *pass) pause(message string) {
	state := swarm.UpdateStatePaused
	if p.rollingBack() {
		state = swarm.UpdateStateRollbackPaused
	}
	p.changeService(func(s *store.Service) {
		u := *s.UpdateStatus
		u.State, u.Message = state, message
		s.UpdateStatus = &u
	})
}

// rollBack makes the previous spec the current one. It gets a version of its
// own, so that no task can be mistaken for one made from it.
func (p *pass) rollBack(message string) {
	p.changeService(func(s *store.Service) {
		u := *s.UpdateStatus
		u.State, u.Message = swarm.UpdateStateRollbackStarted, message
		s.UpdateStatus = &u
		s.Spec, s.PullAuth = *s.PreviousSpec, s.PreviousPullAuth
		s.PreviousSpec, s.PreviousPullAuth, s.PreviousSpecVersion = nil, nil, 0
		s.SpecVersion++
	})
	clear(p.likes)
}

func (p *pass) changeService(fn func(*store.Service)) {
	c := *p.service
	fn(&c)
	p.tx.Put(&c)
	p.service = &c
}

func (p *pass) changeRollout(fn func(*store.Rollout)) {
	p.changeService(func(s *store.Service) {
		r := *s.Rollout
		fn(&r)
		s.Rollout = &r
	})
}

// update replaces what is out of date in the slots, as many at a time as the
// update configuration says.
func (p *pass) update(all slots) {
	c := p.config()
	for _, s := range all {
		p.settle(s, c.Order)
	}
	if u := p.service.UpdateStatus; u != nil && (u.State == swarm.UpdateStatePaused || u.State == swarm.UpdateStateRollbackPaused) {
		return
	}
	stale := slices.Clone(all)
	stale = slices.DeleteFunc(stale, func(s *slot) bool { return !p.stale(s) })
	p.start(all, stale)
	busy := 0
	for _, s := range all {
		if p.busy(s, c.Delay) {
			busy++
		}
	}
	switch {
	case len(stale) > 0:
		p.roll(stale, busy, c)
	case p.rolling() && busy == 0:
		p.finish(c)
	}
}

// stale says that nothing in the slot is up to date.
func (p *pass) stale(s *slot) bool {
	live := s.live()
	if len(live) == 0 {
		t := s.newest()
		return t != nil && p.dirty(t)
	}
	return !slices.ContainsFunc(live, func(t *task) bool { return !p.dirty(t) })
}

// settle leaves one task in a slot that has several wanted ones, an up-to-date
// one among them. With start-first the others go when that one runs.
func (p *pass) settle(s *slot, order string) {
	live := s.live()
	best := p.best(live)
	if len(live) < 2 || best == nil {
		return
	}
	waits := order == swarm.UpdateOrderStartFirst && best.Status.State != swarm.TaskStateRunning
	for _, t := range live {
		if t != best && !(waits && p.dirty(t)) {
			p.stop(t)
		}
	}
}

// best is the up-to-date task that has come furthest, or nil.
func (p *pass) best(live []*task) (best *task) {
	for _, t := range live {
		if p.dirty(t) || t.Ended() {
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
		if !t.Rolled || p.dirty(t) {
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

// start puts a new update on record, if there is one to start. An update that is
// over is not opened again when a slot turns out to be stale later on, as on a
// node that was paused.
func (p *pass) start(all, stale slots) {
	u := p.service.UpdateStatus
	switching := slices.ContainsFunc(all, func(s *slot) bool { return len(s.live()) > 1 })
	if u == nil && len(stale) == 0 && !switching || u != nil && (!p.rolling() || p.current()) {
		return
	}
	// What an earlier update to the same spec left unfinished is part of this
	// one: a resumed update must not go on while that still fails.
	slots := len(stale)
	for _, s := range all {
		if p.stale(s) || s.running() && len(s.live()) == 1 {
			continue
		}
		slots++
		for _, t := range s.live() {
			if !t.Rolled && !p.dirty(t) {
				p.change(t, func(c *store.Task) { c.Rolled = true })
			}
		}
	}
	if slots == 0 {
		return
	}
	p.changeService(func(s *store.Service) {
		s.Rollout = &store.Rollout{SpecVersion: s.SpecVersion, Slots: slots}
		if s.UpdateStatus == nil {
			now := p.now
			s.UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStateUpdating, StartedAt: &now, Message: "update in progress"}
		}
	})
}

// roll replaces the tasks of stale slots as far as parallelism allows. Slots in
// which nothing runs go first: they cost nothing.
func (p *pass) roll(stale slots, busy int, c swarm.UpdateConfig) {
	free := len(stale)
	if c.Parallelism > 0 {
		free = min(free, max(0, int(c.Parallelism)-busy))
	}
	slices.SortStableFunc(stale, func(a, b *slot) int { return first(!a.running(), !b.running()) })
	for _, s := range stale[:free] {
		p.rollSlot(s, c.Order)
	}
}

func (p *pass) rollSlot(s *slot, order string) {
	old := s.live()
	n := p.create(s)
	p.change(n, func(t *store.Task) {
		t.Rolled = true
		if len(old) > 0 {
			t.Replaces = old[0].ID
		}
		if order == swarm.UpdateOrderStartFirst {
			t.DesiredState = swarm.TaskStateRunning
		}
	})
	if order == swarm.UpdateOrderStartFirst {
		return
	}
	for _, t := range old {
		p.stop(t)
	}
}

// finish ends an update whose slots are all done, once its last tasks have been
// monitored.
func (p *pass) finish(c swarm.UpdateConfig) {
	if p.current() {
		if p.service.Rollout.SettledAt.IsZero() {
			p.changeRollout(func(r *store.Rollout) { r.SettledAt = p.now })
		}
		monitor := c.Monitor
		if c.Delay >= monitor {
			monitor = c.Delay + time.Second
		}
		if p.until(p.service.Rollout.SettledAt.Add(monitor)) {
			return
		}
	}
	state, what := swarm.UpdateStateCompleted, "update"
	if p.rollingBack() {
		state, what = swarm.UpdateStateRollbackCompleted, "rollback"
	}
	p.changeService(func(s *store.Service) {
		u, now := *s.UpdateStatus, p.now
		u.State, u.CompletedAt, u.Message = state, &now, fmt.Sprintf("%s completed", what)
		s.UpdateStatus = &u
		s.Rollout = &store.Rollout{SpecVersion: s.SpecVersion, Over: true}
	})
}
