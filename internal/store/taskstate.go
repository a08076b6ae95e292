package store

import "github.com/docker/docker/api/types/swarm"

// ranks orders the states of a task: its state only ever moves to a higher one.
var ranks = map[swarm.TaskState]int{
	swarm.TaskStateNew:       0,
	swarm.TaskStateAllocated: 1,
	swarm.TaskStatePending:   2,
	swarm.TaskStateAssigned:  3,
	swarm.TaskStateAccepted:  4,
	swarm.TaskStatePreparing: 5,
	swarm.TaskStateReady:     6,
	swarm.TaskStateStarting:  7,
	swarm.TaskStateRunning:   8,
	swarm.TaskStateComplete:  9,
	swarm.TaskStateShutdown:  10,
	swarm.TaskStateFailed:    11,
	swarm.TaskStateRejected:  12,
	swarm.TaskStateRemove:    13,
	swarm.TaskStateOrphaned:  14,
}

// Rank is a state's place in Swarm's order of states; -1 is no state at all.
func Rank(s swarm.TaskState) int {
	if r, ok := ranks[s]; ok {
		return r
	}
	return -1
}

// Ended says that nothing of the task runs any more, and never will.
func (t *Task) Ended() bool { return Rank(t.Status.State) > Rank(swarm.TaskStateRunning) }

// Assigned says that a worker has been told of the task.
func (t *Task) Assigned() bool {
	return t.NodeID != "" && Rank(t.Status.State) >= Rank(swarm.TaskStateAssigned)
}

// Wanted says that the task is to run, or to run to its end.
func (t *Task) Wanted() bool { return Rank(t.DesiredState) <= Rank(swarm.TaskStateComplete) }
