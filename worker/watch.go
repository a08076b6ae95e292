package worker

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"

	"orch/worker/engine"
	"orch/worker/spec"
)

const (
	// relistEvery finds what no event told. Nothing should; it costs one call.
	relistEvery = 30 * time.Second
	// reopenAfter is the pause before the engine is asked again whether it is back.
	reopenAfter = 100 * time.Millisecond
)

// watch follows the engine, over its restarts, until the context ends.
func (a *Agent) watch(ctx context.Context) error {
	said := false
	for ctx.Err() == nil {
		err := a.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if !said || err == nil {
			a.Log.Warn("the engine's events have ended; waiting for it", "err", err)
		}
		said = err != nil
		a.post(ctx, a.engineLost)
		select {
		case <-time.After(reopenAfter):
		case <-ctx.Done():
		}
	}
	return nil
}

// follow hands the engine's events to the loop until they end. It listens before it lists, so nothing falls between.
func (a *Agent) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	select {
	case <-a.reopen: // of an earlier stream
	default:
	}
	events, err := a.Engine.Events(ctx, spec.LabelTask)
	if err != nil {
		return err
	}
	list, err := a.list(ctx)
	if err != nil {
		return err
	}
	a.post(ctx, func() { a.listed(list, true) })
	a.link.redescribe()
	relist := time.NewTicker(relistEvery)
	defer relist.Stop()
	for {
		select {
		case ev, ok := <-events:
			if !ok {
				return nil
			}
			a.post(ctx, func() { a.happened(ev) })
		case <-a.reopen:
			return nil
		case <-relist.C:
			list, err := a.list(ctx)
			if err != nil {
				return err
			}
			a.post(ctx, func() { a.listed(list, false) })
		}
	}
}

func (a *Agent) list(ctx context.Context) ([]engine.State, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return a.Engine.List(ctx, spec.LabelNode, a.NodeID)
}

// engineLost stops work until the engine is back. What ran may end with it, without having failed.
func (a *Agent) engineLost() {
	if !a.engineUp {
		return
	}
	a.engineUp = false
	for _, t := range a.tasks {
		t.orphaned = t.orphaned || t.running
	}
}

// engineGone is engineLost by a call that was not answered: the events are to be asked for again.
func (a *Agent) engineGone() {
	a.engineLost()
	signal(a.reopen)
}

// listed compares what the engine has with what is known. After a time without events every container is looked at.
func (a *Agent) listed(list []engine.State, lost bool) {
	if !lost && !a.engineUp {
		return // an older list than the one that will say that it is back
	}
	a.engineUp = true
	there := map[string]bool{}
	clear(a.found)
	for _, s := range list {
		id := s.Labels[spec.LabelTask]
		if id == "" {
			continue // not a task's: somebody else's label
		}
		t := a.tasks[id]
		if t == nil {
			a.found[id] = s
			continue
		}
		there[id] = true
		if t.container == "" && t.step == none {
			t.container = s.ID
			t.unsure = true
		}
		if t.container == s.ID && (lost && !ended(t.Status.State) || t.running != s.Running()) {
			t.unsure = true
		}
	}
	a.claim()
	for id, t := range a.tasks {
		switch {
		case there[id] || t.step != none:
		case t.container != "":
			t.unsure = true // made since the list, or gone: a look will tell
		case rank(t.Status.State) >= rank(swarm.TaskStateStarting) && !ended(t.Status.State):
			a.lost(t)
		}
		a.wake(t)
	}
}

// happened brings an event into force.
func (a *Agent) happened(ev engine.Event) {
	t := a.tasks[ev.Labels[spec.LabelTask]]
	if t == nil || t.container != ev.ID {
		return
	}
	inFlight := t.step == start || t.step == look || t.step == inquire
	switch ev.Kind {
	case engine.Started:
		if t.step == none && !t.running {
			t.unsure = true // not by us
		}
	case engine.Died:
		if inFlight {
			t.exit = &ev.ExitCode // for when the step comes back
		} else if t.running && t.step == none && wanted(t.DesiredState) && !t.dropped && !t.unhealthy {
			a.examine(t, ev.ExitCode)
		} else if t.running {
			a.ran(t, ev.ExitCode)
		}
	case engine.Healthy:
		a.judge(t, container.Healthy)
	case engine.Unhealthy:
		a.judge(t, container.Unhealthy)
	case engine.Destroyed:
		if t.step == inquire {
			a.ran(t, *t.exit)
		}
		if t.step != remove {
			a.lost(t)
		}
	}
	a.wake(t)
}
