package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sys/unix"

	"orch/internal/extra"
	"orch/worker/engine"
)

const (
	// graceDefault is the engine's own between the stop signal and the kill.
	graceDefault = 10 * time.Second
	// aliveLimit is how long an engine may take to say that it is not shutting down. Where the service manager holds the
	// socket, one that is does not refuse but stays silent.
	aliveLimit = 2 * time.Second
	// stopSlack is how much longer than its grace period a stop may take.
	stopSlack = time.Minute
	// noticeLimit is how long an engine may take to notice the end of a process that is gone, on a machine with much to do.
	noticeLimit = 10 * time.Second
	noticeEvery = 20 * time.Millisecond
)

// start starts a task's container, for the first time or again in place.
func (a *Agent) start(t *task) job {
	a.say(t, swarm.TaskStateStarting, saidStarting)
	t.exit, t.healthy, t.unhealthy = nil, false, false
	parsed, err := a.parse(t)
	if err != nil {
		return func(context.Context) func() { return func() { a.broke(t, err) } }
	}
	var again *placing
	if t.prepared == nil { // made before this process: its surroundings may be gone
		p, _ := a.placing(t) // it parses
		again = &p
	}
	task, id, networks := t.ID, t.container, parsed.Networks()
	return func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, callLimit)
		defer cancel()
		state, err := a.startContainer(ctx, again, task, id, networks)
		return func() { a.started(t, state, err) }
	}
}

func (a *Agent) startContainer(ctx context.Context, again *placing, task, id string, networks []string) (engine.State, error) {
	if again != nil {
		if _, err := a.place(ctx, *again); err != nil {
			return engine.State{}, err
		}
	}
	if err := a.Engine.Start(ctx, id); err != nil {
		return engine.State{}, fmt.Errorf("starting container failed: %w", err)
	}
	return a.inspect(ctx, task, id, networks)
}

// inspect looks at a container and, if it runs, brings it into its networks.
func (a *Agent) inspect(ctx context.Context, task, id string, networks []string) (engine.State, error) {
	state, err := a.Engine.Inspect(ctx, id)
	if err != nil || !state.Running() || len(networks) == 0 {
		return state, err
	}
	if err := a.Network.Attach(ctx, task, id, state.PID, networks); err != nil {
		if now, ended := a.ended(ctx, id, err); ended {
			return now, nil
		}
		return state, fmt.Errorf("join the task's networks: %w", err)
	}
	return state, nil
}

// ended says whether a container has ended by itself while it was being brought into its networks. When its process is not
// there any more, the engine is given a while to notice.
func (a *Agent) ended(ctx context.Context, id string, why error) (engine.State, bool) {
	for deadline := time.Now().Add(noticeLimit); ; {
		now, err := a.Engine.Inspect(ctx, id)
		if err != nil {
			return now, false
		}
		if !now.Running() {
			return now, true
		}
		if !errors.Is(why, fs.ErrNotExist) && !errors.Is(why, unix.ESRCH) || time.Now().After(deadline) {
			return now, false
		}
		select {
		case <-time.After(noticeEvery):
		case <-ctx.Done():
			return now, false
		}
	}
}

func (a *Agent) started(t *task, s engine.State, err error) {
	if s.ID != "" {
		t.orphaned = false // from here on its end is its own
		t.running = s.Running()
		t.see(s)
	}
	switch {
	case errors.Is(err, engine.ErrNotFound) && s.ID == "":
		a.lost(t)
	case err != nil:
		a.broke(t, err)
	case t.exit != nil || s.Ended(): // it did run
		code := s.ExitCode
		if t.exit != nil {
			code = *t.exit
		}
		t.running = true
		a.judge(t, s.Health)
		a.ran(t, code)
	default:
		before := t.Status.State
		a.judge(t, s.Health)
		if t.Status.State == before {
			a.said(t) // again in place: another PID; or not healthy yet: where its check can be looked at
		}
	}
}

// judge notes a running container's health, and says that its task runs once nothing is against it.
func (a *Agent) judge(t *task, health container.HealthStatus) {
	t.healthy = t.healthy || health == "" || health == container.Healthy
	t.unhealthy = t.unhealthy || health == container.Unhealthy
	if parsed, err := a.parse(t); err == nil && len(parsed.Extra.PostStart) == 0 {
		t.greeted = true
	}
	if t.running && t.healthy && !t.unhealthy && t.greeted && t.step == none && wanted(t.DesiredState) {
		a.say(t, swarm.TaskStateRunning, saidStarted)
	}
}

// look sees what a container that was found is like.
func (a *Agent) look(t *task) job {
	t.exit = nil
	task, id := t.ID, t.container
	var networks []string
	if parsed, err := a.parse(t); err == nil && !t.dropped {
		networks = parsed.Networks()
	}
	return func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, callLimit)
		defer cancel()
		state, err := a.inspect(ctx, task, id, networks)
		return func() { a.looked(t, state, err) }
	}
}

func (a *Agent) looked(t *task, s engine.State, err error) {
	t.unsure = false
	switch {
	case errors.Is(err, engine.ErrNotFound):
		a.lost(t)
		return
	case err != nil && s.ID == "":
		t.unsure = true
		a.again(t, look, err)
		return
	case err != nil:
		a.Log.Warn("a running task is not in its networks", "task", t.Name, "err", err)
	}
	t.running = s.Running()
	defer a.resolve(t)
	switch {
	case t.exit != nil:
		a.ran(t, *t.exit)
	case s.Ended():
		a.ran(t, s.ExitCode)
	case s.Running():
		t.orphaned = false
		a.say(t, swarm.TaskStateStarting, saidStarting)
		t.see(s)
		a.judge(t, s.Health)
	default:
		a.say(t, swarm.TaskStateReady, saidPrepared)
	}
}

// again handles the error of a step that must be done in the end.
func (a *Agent) again(t *task, doing step, err error) {
	if errors.Is(err, engine.ErrUnavailable) {
		a.engineGone()
		return
	}
	a.hold(t, doing, err)
}

// examine finds out whether a process that nobody here stopped ended by itself, or with an engine that shuts down.
func (a *Agent) examine(t *task, code int) {
	t.exit = &code
	a.perform(t, inquire, func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, aliveLimit)
		defer cancel()
		err := a.Engine.Alive(ctx)
		return func() {
			if err != nil {
				a.engineGone() // while the task still counts as running: its end is the engine's
			}
			if t.running {
				a.ran(t, *t.exit)
			}
		}
	})
}

// greet runs the hooks that come after a container's start.
func (a *Agent) greet(t *task) job {
	parsed, _ := a.parse(t) // it was started
	id, hooks := t.container, parsed.Extra.PostStart
	return func(ctx context.Context) func() {
		var err error
		for _, h := range hooks {
			if err = a.hook(ctx, id, h); err != nil {
				break
			}
		}
		return func() {
			t.greeted = err == nil
			if err != nil {
				a.broke(t, fmt.Errorf("post_start: %w", err))
				return
			}
			a.judge(t, container.Starting)
		}
	}
}

// hook runs one command inside a container.
func (a *Agent) hook(ctx context.Context, id string, h extra.Hook) error {
	got, err := a.Engine.Exec(ctx, id, container.ExecOptions{
		Cmd: h.Command, User: h.User, Privileged: h.Privileged, WorkingDir: h.WorkingDir, Env: h.Env,
	})
	if err != nil {
		return fmt.Errorf("run %q: %w", h.Command, err)
	}
	if got.ExitCode != 0 {
		return fmt.Errorf("%q: exit %d: %s", h.Command, got.ExitCode, got.Output)
	}
	return nil
}

// stop stops a container, which is out of rotation by now: connections taken up, hooks, signal, grace period, kill.
func (a *Agent) stop(t *task) job {
	task, id, name := t.ID, t.container, t.Name
	var grace *time.Duration
	var hooks []extra.Hook
	if c := t.Spec.ContainerSpec; c != nil {
		grace = c.StopGracePeriod
	}
	if parsed, err := a.parse(t); err == nil && t.greeted {
		hooks = parsed.Extra.PreStop
	}
	limit := graceDefault
	if grace != nil {
		limit = *grace
	}
	return func(ctx context.Context) func() {
		a.Network.Drain(ctx, task)
		a.preStop(ctx, id, name, hooks, limit)
		ctx, cancel := context.WithTimeout(ctx, limit+stopSlack)
		defer cancel()
		err := a.Engine.Stop(ctx, id, grace)
		var state engine.State
		if err == nil {
			state, err = a.Engine.Inspect(ctx, id)
		}
		return func() {
			switch {
			case errors.Is(err, engine.ErrNotFound):
				a.lost(t)
			case err != nil:
				a.again(t, stop, err)
			case t.running: // its end was not told yet
				t.orphaned = false
				a.ran(t, state.ExitCode)
			}
		}
	}
}

// preStop runs the hooks that come before a stop, within the grace period. A container stops with or without them.
func (a *Agent) preStop(ctx context.Context, id, name string, hooks []extra.Hook, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, h := range hooks {
		if err := a.hook(ctx, id, h); err != nil {
			a.Log.Warn("a pre_stop hook failed", "task", name, "err", err)
			return
		}
	}
}

// remove takes a task's container away.
func (a *Agent) remove(t *task) job {
	id := t.container
	return func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, callLimit)
		defer cancel()
		err := a.Engine.Remove(ctx, id)
		return func() {
			if err != nil {
				a.again(t, remove, err)
				return
			}
			t.container = ""
		}
	}
}

// forget ends a task of which nothing is left but its files.
func (a *Agent) forget(t *task) {
	a.detach(t)
	if err := a.files.Remove(t.ID); err != nil {
		a.Log.Warn("secrets of a task that is gone are left", "task", t.Name, "err", err)
	}
	delete(a.tasks, t.ID)
	a.outbox.gone(t.Task)
	a.resolve(t)
	a.unsaved = true
}
