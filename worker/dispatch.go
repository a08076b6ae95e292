package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/worker/engine"
	"orch/worker/spec"
)

const (
	// parallel is how many containers are created or started at a time: what Swarm does, and beyond which
	// dockerd only queues.
	parallel = 4
	// retryAfter is when a step is tried again that should not have failed.
	retryAfter = time.Second
	// lackLimit is how long a task waits for what the managers have yet to send. Swarm waits as long for addresses.
	lackLimit = 30 * time.Second
)

// wake does what can be done for a task now.
func (a *Agent) wake(t *task) {
	if rank(t.Status.State) < rank(swarm.TaskStateAccepted) {
		a.say(t, swarm.TaskStateAccepted, saidAccepted)
	}
	if t.step == none && !t.running && !t.unsure && !wanted(t.DesiredState) {
		a.say(t, swarm.TaskStateShutdown, saidShutdown)
	}
	s := next(t)
	switch {
	case s == none || !a.engineUp:
	case !s.bounded():
		a.begin(t, s)
	case t.queued:
	case s == start: // what was begun is finished first
		t.queued = true
		a.starts = append(a.starts, t)
	default:
		t.queued = true
		a.creates = append(a.creates, t)
	}
}

// dispatch begins bounded steps as long as there is room.
func (a *Agent) dispatch() {
	for a.engineUp && a.slots > 0 {
		queue := &a.starts
		if len(*queue) == 0 {
			queue = &a.creates
		}
		if len(*queue) == 0 {
			return
		}
		t := (*queue)[0]
		*queue = (*queue)[1:]
		t.queued = false
		if s := next(t); s.bounded() {
			a.begin(t, s)
		} else {
			a.wake(t)
		}
	}
}

// job does a step's work away from the loop, and returns what is to be noted on it.
type job func(ctx context.Context) func()

// begin starts a step.
func (a *Agent) begin(t *task, s step) {
	var do job
	switch s {
	case look:
		do = a.look(t)
	case prepare, create, start:
		if why := a.lacks(t); why != nil {
			a.lack(t, why)
			return
		}
		do = map[step]func(*task) job{prepare: a.prepare, create: a.create, start: a.start}[s](t)
	case greet:
		do = a.greet(t)
	case stop:
		do = a.stop(t)
	case remove:
		do = a.remove(t)
	case forget:
		a.forget(t)
		return
	}
	a.perform(t, s, do)
}

// perform does a step's job, and goes on from its outcome.
func (a *Agent) perform(t *task, s step, do job) {
	var ctx context.Context
	t.step = s
	ctx, t.cancel = context.WithCancel(a.life)
	if s.bounded() {
		a.slots--
	}
	a.steps.Go(func() error {
		note := do(ctx)
		a.post(a.life, func() {
			t.cancel()
			t.step = none
			if s.bounded() {
				a.slots++
			}
			note()
			a.wake(t)
		})
		return nil
	})
}

// lack makes a task wait for more from the managers, for a while.
func (a *Agent) lack(t *task, why error) {
	t.lacking = true
	if t.since.IsZero() {
		t.since = time.Now()
		a.later(lackLimit, func() {
			if t.lacking && wanted(t.DesiredState) {
				a.fail(t, why.Error())
			}
		})
	}
}

// hold tries a task's step again in a while.
func (a *Agent) hold(t *task, doing step, err error) {
	a.Log.Warn("a step failed and is tried again", "task", t.Name, "step", doing, "err", err)
	t.held = true
	a.later(retryAfter, func() {
		t.held = false
		a.wake(t)
	})
}

// broke handles the error of a step on the way to a running container.
func (a *Agent) broke(t *task, err error) {
	switch {
	case errors.Is(err, engine.ErrUnavailable):
		a.engineGone()
	case errors.Is(err, context.Canceled): // interrupted: what is desired now decides
	default:
		a.fail(t, err.Error())
	}
}

// parse is a task's specification.
func (a *Agent) parse(t *task) (spec.Task, error) {
	if t.parsed == nil {
		assigned := t.Task
		p, err := spec.Parse(&assigned, a.link.node())
		if err != nil {
			return p, err
		}
		t.parsed = &p
	}
	return *t.parsed, nil
}

// lacks says what a task needs that the managers have not sent.
func (a *Agent) lacks(t *task) error {
	p, err := a.parse(t)
	if err != nil {
		return nil // the step will say so
	}
	for _, id := range p.Networks() {
		if _, ok := a.set.networks[id]; !ok {
			return errors.New("node is missing network attachments, ip addresses may be exhausted")
		}
	}
	secrets, configs := p.Needs()
	if t.container != "" && a.files.Whole(t.ID, p.FileCount()) {
		return nil // the files of an earlier life are still there
	}
	for _, id := range secrets {
		if _, ok := a.set.secrets[id]; !ok {
			return fmt.Errorf("secret %s is not on this node", id)
		}
	}
	for _, id := range configs {
		if _, ok := a.set.configs[id]; !ok {
			return fmt.Errorf("config %s is not on this node", id)
		}
	}
	return nil
}
