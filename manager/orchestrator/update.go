package orchestrator

import (
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// defaultMonitor is how long a new task is watched if the service does not say.
const defaultMonitor = 5 * time.Second

// inProgress is an update's message while nothing is to be said about it; it is Swarm's.
const inProgress = "update in progress"

// updateState is where the service's update is; "" if there is none.
func (p *pass) updateState() swarm.UpdateState {
	if u := p.service.UpdateStatus; u != nil {
		return u.State
	}
	return ""
}

// rolling says that a rolling update, or rollback, is under way.
func (p *pass) rolling() bool {
	u := p.updateState()
	return u == swarm.UpdateStateUpdating || u == swarm.UpdateStateRollbackStarted
}

func (p *pass) paused() bool {
	u := p.updateState()
	return u == swarm.UpdateStatePaused || u == swarm.UpdateStateRollbackPaused
}

func (p *pass) rollingBack() bool {
	u := p.updateState()
	return u == swarm.UpdateStateRollbackStarted || u == swarm.UpdateStateRollbackPaused
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
	if p.strategy.BlueGreen { // both ways: all at once, and nothing stops before
		c.Parallelism, c.Delay, c.Order = 0, 0, swarm.UpdateOrderStartFirst
	}
	if p.onTrial() {
		c.FailureAction = swarm.UpdateFailureActionRollback
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
		if !t.Wanted() || p.counted(t.slot) || !p.early(t, c.Monitor) {
			continue
		}
		p.changeRollout(func(r *store.Rollout) { r.Failed = append(slices.Clone(r.Failed), t.ID) })
		if float32(len(p.service.Rollout.Failed))/float32(max(p.judged(), 1)) > c.MaxFailureRatio {
			p.abort(c, t.ID)
			return
		}
	}
}

// counted says that a failure in the slot counts already: a slot fails once.
func (p *pass) counted(s *slot) bool {
	return slices.ContainsFunc(s.tasks, func(t *task) bool { return slices.Contains(p.service.Rollout.Failed, t.ID) })
}

// judged is how many slots failures are counted against.
func (p *pass) judged() int {
	if p.onTrial() && p.strategy.Canary > 0 {
		return min(p.service.Rollout.Slots, p.strategy.Canary)
	}
	return p.service.Rollout.Slots
}

// current says that the rollout on record is that of the spec at hand.
func (p *pass) current() bool {
	r := p.service.Rollout
	return r != nil && r.SpecVersion == p.service.SpecVersion && !r.Over
}

// early says that the task is the update's and ended by itself within the
// monitored time. That of a trial lasts as long as the trial.
func (p *pass) early(t *task, monitor time.Duration) bool {
	if !t.Rolled || p.dirty(t) || !failed(t) && t.Status.State != swarm.TaskStateComplete {
		return false
	}
	return t.RunningAt.IsZero() || p.onTrial() || t.AppliedAt.Sub(t.RunningAt) <= monitor
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
	p.say(state, message)
}

// say puts a state and a message into the update's status, unless they are there.
func (p *pass) say(state swarm.UpdateState, message string) {
	if u := p.service.UpdateStatus; u.State == state && u.Message == message {
		return
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
	p.say(swarm.UpdateStateRollbackStarted, message)
	p.changeService(func(s *store.Service) {
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
	if p.paused() {
		return
	}
	stale := slices.DeleteFunc(slices.Clone(all), func(s *slot) bool { return !p.stale(s) })
	p.start(all, stale)
	c = p.config() // what has started may be a trial
	stale = slices.DeleteFunc(stale, func(s *slot) bool { return p.givenUp(s, c) })
	busy := 0
	for _, s := range all {
		if p.busy(s, c.Delay) {
			busy++
		}
	}
	switch {
	case p.rolling() && p.held(all, busy):
	case len(stale) > 0:
		p.roll(all, stale, busy, c)
	case p.rolling() && busy == 0:
		p.finish(all, c)
	}
	p.serve()
}

// start puts a new update on record, if there is one to start. An update that is
// over is not opened again when a slot turns out to be stale later on, as on a
// node that was paused.
func (p *pass) start(all, stale slots) {
	u := p.service.UpdateStatus
	switching := slices.ContainsFunc(all, func(s *slot) bool { return p.staying(s) > 1 })
	if u == nil && len(stale) == 0 && !switching || u != nil && (!p.rolling() || p.current()) {
		return
	}
	// What an earlier update to the same spec left unfinished is part of this
	// one: a resumed update must not go on while that still fails.
	slots := len(stale)
	for _, s := range all {
		if p.stale(s) || s.running() && p.staying(s) <= 1 {
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
			s.UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStateUpdating, StartedAt: &now, Message: inProgress}
		}
	})
}

// finish ends an update whose slots are all done, once its last tasks have been
// monitored.
func (p *pass) finish(all slots, c swarm.UpdateConfig) {
	monitor := c.Monitor
	if c.Delay >= monitor {
		monitor = c.Delay + time.Second
	}
	switch {
	case !p.current():
	case p.blueGreen():
		p.switchOver(all)
		if p.until(p.service.Rollout.SwitchedAt.Add(monitor)) {
			return
		}
	case p.until(p.settled(c.Delay).Add(monitor)):
		return
	}
	state, message := swarm.UpdateStateCompleted, "update completed"
	if p.rollingBack() {
		state, message = swarm.UpdateStateRollbackCompleted, "rollback completed"
	}
	p.say(state, message)
	p.changeService(func(s *store.Service) {
		u, now := *s.UpdateStatus, p.now
		u.CompletedAt = &now
		s.UpdateStatus = &u
		s.Rollout = &store.Rollout{SpecVersion: s.SpecVersion, Over: true}
	})
	for _, s := range all {
		p.settle(s, c.Order) // what a blue-green update has kept until now
	}
}

// settled is when the update had done with its last slot.
func (p *pass) settled(delay time.Duration) (last time.Time) {
	for _, t := range p.slots.tasks() {
		if !t.Rolled || p.dirty(t) {
			continue
		}
		at := t.RunningAt
		if at.IsZero() {
			at = t.AppliedAt
		}
		if at.After(last) {
			last = at
		}
	}
	return last.Add(delay)
}
