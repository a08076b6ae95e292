package worker

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/worker/spec"
)

// task is a task of this node and what is known of its container. Status is what the agent says of it, not what the
// managers believe.
type task struct {
	bus.Task
	// dropped says that it is assigned no more.
	dropped bool
	// parsed is its specification, once it was needed.
	parsed *spec.Task

	// container is the ID, empty as long as there is none.
	container string
	running   bool
	// unsure says that the container must be looked at before anything is done to it.
	unsure bool
	// orphaned says that the engine, or the machine, may be what ended the container: then it is started again in place.
	orphaned bool
	// unhealthy says that it is stopped, or was, because its health check failed.
	unhealthy bool
	// healthy says that it has no health check, or has passed it.
	healthy bool
	// greeted says that its post_start hooks have run.
	greeted bool
	// prepared says that its networks, files and image are here.
	prepared *prepared
	// exit is how its process ended, while a step was under way that has yet to come back.
	exit *int

	// lacking says that it waits for more from the managers, held that a step failed and is tried again in a while.
	lacking, held bool
	since         time.Time // when it began to lack
	step          step
	cancel        context.CancelFunc
	queued        bool
}

func newTask(t bus.Task) *task {
	return &task{Task: t, greeted: rank(t.Status.State) >= rank(swarm.TaskStateRunning)}
}

// step is something to do to a task.
type step string

// The steps of a task, in their order.
const (
	none    step = ""
	look    step = "look"    // see what the container is like, and bring it into its networks
	prepare step = "prepare" // networks, secrets, image
	create  step = "create"
	start   step = "start"
	greet   step = "greet"   // post_start hooks
	inquire step = "inquire" // whose doing an end was
	stop    step = "stop"    // pre_stop hooks, stop signal, kill
	remove  step = "remove"
	forget  step = "forget"
)

// next is the one step that brings a task nearer to what is desired. It is pure.
func next(t *task) step {
	switch {
	case t.step != none || t.held || t.lacking:
		return none
	case t.unsure && t.container != "":
		return look
	case t.dropped:
		switch {
		case t.running:
			return stop
		case t.container != "":
			return remove
		}
		return forget
	case t.running && (ended(t.Status.State) || !wanted(t.DesiredState) || t.unhealthy):
		return stop
	case ended(t.Status.State) || !wanted(t.DesiredState):
		return none
	case t.container == "" && t.prepared == nil:
		return prepare
	case t.container == "":
		return create
	case !t.running && rank(t.DesiredState) >= rank(swarm.TaskStateRunning):
		return start
	case t.running && !t.greeted:
		return greet
	}
	return none
}

// bounded says that a step is hard work for the engine, of which only so much is done at a time.
func (s step) bounded() bool { return s == create || s == start }

// interruptible says that a step may be broken off when its task is not wanted any more.
func (s step) interruptible() bool { return s == prepare || s == greet }

// interrupt breaks off work for a task that is not wanted any more.
func (t *task) interrupt() {
	if t.step.interruptible() && (t.dropped || !wanted(t.DesiredState)) {
		t.cancel()
	}
}

// ranks orders the states of a task. Source: the numbers of swarmkit's api.TaskState.
var ranks = map[swarm.TaskState]int{
	swarm.TaskStateNew: 0, swarm.TaskStateAllocated: 64, swarm.TaskStatePending: 128, swarm.TaskStateAssigned: 192,
	swarm.TaskStateAccepted: 256, swarm.TaskStatePreparing: 320, swarm.TaskStateReady: 384, swarm.TaskStateStarting: 448,
	swarm.TaskStateRunning: 512, swarm.TaskStateComplete: 576, swarm.TaskStateShutdown: 640, swarm.TaskStateFailed: 704,
	swarm.TaskStateRejected: 768, swarm.TaskStateRemove: 800, swarm.TaskStateOrphaned: 832,
}

func rank(s swarm.TaskState) int { return ranks[s] }

// ended says that a task in this state is over for good.
func ended(s swarm.TaskState) bool { return rank(s) > rank(swarm.TaskStateRunning) }

// wanted says that a task desired so has, or is to have, a container that runs, or one that is ready to.
func wanted(s swarm.TaskState) bool { return rank(s) <= rank(swarm.TaskStateComplete) }
