package orchestrator

import (
	"fmt"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
	"orch/internal/strategy"
)

// What a service's labels (package strategy) add to Swarm's updates: a canary,
// whose update stops at the first batch until it is promoted, and blue-green,
// where the new tasks take over all at once. Until then both are on trial: they
// return to the previous spec by themselves when a task fails.

// canary says that the update at hand is held after its first batch.
func (p *pass) canary() bool {
	return p.strategy.Canary > 0 && p.updateState() == swarm.UpdateStateUpdating && !(p.current() && p.service.Rollout.Promoted)
}

// blueGreen says that the old tasks of the update at hand stay until its end.
// There and back are not the same: who returns does so without ceremony.
func (p *pass) blueGreen() bool {
	u := p.updateState()
	return p.strategy.BlueGreen && (u == swarm.UpdateStateUpdating || u == swarm.UpdateStatePaused)
}

// onTrial says that any failure now ends the update and takes it back.
func (p *pass) onTrial() bool { return p.canary() || p.blueGreen() }

// allowance is how many more slots may have their turn before the hold.
func (p *pass) allowance(all slots) int {
	if !p.canary() {
		return len(all)
	}
	return max(0, p.strategy.Canary-len(p.begun(all)))
}

// begun are the update's tasks that have had their turn.
func (p *pass) begun(all slots) (tasks []*task) {
	for _, s := range all {
		for _, t := range s.live() {
			if t.Rolled && !p.dirty(t) && !p.ahead(t) {
				tasks = append(tasks, t)
				break
			}
		}
	}
	return tasks
}

// held says that the canary runs and is to be watched for longer, and tells so;
// a hold whose time is over promotes.
func (p *pass) held(all slots, busy int) bool {
	if !p.canary() || !p.current() || busy > 0 {
		return false
	}
	batch := p.begun(all)
	if len(batch) < min(p.strategy.Canary, p.service.Rollout.Slots) {
		return false
	}
	var since time.Time
	for _, t := range batch {
		if t.RunningAt.After(since) {
			since = t.RunningAt
		}
	}
	message := fmt.Sprintf(strategy.Held+"%d of %d tasks updated; `orch promote %s` goes on", len(batch), len(all), p.service.Spec.Name)
	if p.strategy.Hold > 0 {
		end := since.Add(p.strategy.Hold)
		if !p.until(end) {
			p.changeRollout(func(r *store.Rollout) { r.Promoted = true })
			p.say(swarm.UpdateStateUpdating, inProgress)
			return false
		}
		message += " before " + end.UTC().Format(time.RFC3339)
	}
	p.say(swarm.UpdateStateUpdating, message)
	return true
}

// switchOver lets the new tasks of a blue-green update, which all run, take over.
func (p *pass) switchOver(all slots) {
	if !p.service.Rollout.SwitchedAt.IsZero() {
		return
	}
	for _, s := range all {
		for _, t := range s.live() {
			p.standBy(t, p.dirty(t))
		}
	}
	p.changeRollout(func(r *store.Rollout) { r.SwitchedAt = p.now })
}

// serve brings what was left on standby by an update that is over, or taken
// back, into rotation.
func (p *pass) serve() {
	if p.blueGreen() {
		return
	}
	for _, t := range p.slots.tasks() {
		if t.Wanted() {
			p.standBy(t, false)
		}
	}
}

func (p *pass) standBy(t *task, standby bool) {
	if t.Standby != standby {
		p.change(t, func(c *store.Task) { c.Standby = standby })
	}
}
