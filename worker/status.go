package worker

import (
	"fmt"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/worker/engine"
)

// Swarm's words for the states that a worker reports.
const (
	saidAccepted  = "accepted"
	saidPreparing = "preparing"
	saidPrepared  = "prepared"
	saidStarting  = "starting"
	saidStarted   = "started"
	saidFinished  = "finished"
	saidShutdown  = "shutdown"

	errUnhealthy = "dockerexec: unhealthy container"
	errDestroyed = "dockerexec: container destroyed"
)

// say moves a task to a state. A state only ever moves forward.
func (a *Agent) say(t *task, state swarm.TaskState, message string) {
	if t.dropped || rank(state) <= rank(t.Status.State) {
		return
	}
	t.Status.State, t.Status.Message, t.Status.Err, t.Status.Timestamp = state, message, "", time.Now().UTC()
	a.said(t)
}

// fail ends a task: rejected if it has never started, failed if it has. The message stays, it says how far it came.
func (a *Agent) fail(t *task, why string) {
	if t.dropped || ended(t.Status.State) {
		return
	}
	state := swarm.TaskStateFailed
	if rank(t.Status.State) < rank(swarm.TaskStateStarting) {
		state = swarm.TaskStateRejected
	}
	t.Status.State, t.Status.Err, t.Status.Timestamp = state, why, time.Now().UTC()
	a.Log.Info("task "+string(state), "task", t.Name, "err", why)
	a.said(t)
}

func (a *Agent) said(t *task) {
	a.outbox.add(t.Task)
	a.unsaved = true
}

// see notes what a container that runs, or has run, is like.
func (t *task) see(s engine.State) {
	t.Status.ContainerStatus = &swarm.ContainerStatus{ContainerID: s.ID, PID: s.PID, ExitCode: s.ExitCode}
	if len(s.Ports) > 0 {
		t.Status.PortStatus = swarm.PortStatus{Ports: s.Ports}
	}
}

// ran notes that a container's process has ended, and what that means for its task.
func (a *Agent) ran(t *task, code int) {
	t.running = false
	t.Status.ContainerStatus = &swarm.ContainerStatus{ContainerID: t.container, ExitCode: code}
	t.Status.PortStatus = swarm.PortStatus{}
	switch {
	case t.dropped || ended(t.Status.State):
	case !wanted(t.DesiredState):
		a.say(t, swarm.TaskStateShutdown, saidShutdown)
	case t.orphaned && !(code == 0 && t.DesiredState == swarm.TaskStateComplete):
		t.prepared = nil // what is around it may have gone too
		a.Log.Info("starting a container again that the engine's end took down", "task", t.Name)
		return // its task is not over: the managers need not know, and it joins its networks anew
	case t.unhealthy && code == 0:
		a.fail(t, errUnhealthy)
	case t.unhealthy:
		a.fail(t, fmt.Sprintf("task: non-zero exit (%d): %s", code, errUnhealthy))
	case code != 0:
		a.fail(t, fmt.Sprintf("task: non-zero exit (%d)", code))
	default:
		a.say(t, swarm.TaskStateComplete, saidFinished)
	}
	a.detach(t)
}

// detach takes an ended task out of its networks, which may have to wait for an Apply.
func (a *Agent) detach(t *task) {
	id := t.ID
	a.steps.Go(func() error { a.Network.Detach(id); return nil })
}

// lost notes that a task's container is gone.
func (a *Agent) lost(t *task) {
	had := t.running
	t.container, t.running, t.unsure = "", false, false
	a.detach(t)
	switch {
	case !wanted(t.DesiredState):
		a.say(t, swarm.TaskStateShutdown, saidShutdown)
	case had || rank(t.Status.State) >= rank(swarm.TaskStateStarting):
		a.fail(t, errDestroyed)
	}
}
