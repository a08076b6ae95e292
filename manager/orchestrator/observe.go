package orchestrator

import (
	"reflect"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/internal/store"
)

// Observe applies what a worker reports of a task. A state never goes back and
// an end is final; it is false if the report is about no task of that node, or
// says nothing new.
func Observe(tx *store.Tx, node string, s bus.TaskStatus) bool {
	t := tx.Task(s.TaskID)
	if t == nil || t.NodeID != node || !t.Assigned() {
		return false
	}
	if s.Gone && t.DesiredState == swarm.TaskStateRemove {
		tx.Delete(t)
		return true
	}
	if !advances(t, s.Status) {
		return false
	}
	if t.DesiredState == swarm.TaskStateRemove && store.Rank(s.Status.State) > store.Rank(swarm.TaskStateRunning) {
		tx.Delete(t)
		return true
	}
	c := *t
	c.Status = s.Status
	if c.Status.Timestamp.IsZero() {
		c.Status.Timestamp = tx.Now()
	}
	if c.Status.State != t.Status.State {
		c.AppliedAt = tx.Now()
		if c.Status.State == swarm.TaskStateRunning {
			c.RunningAt = tx.Now()
		}
	}
	tx.Put(&c)
	return true
}

// advances says that a status is news of a task: one of the states that a worker
// decides on, not before the present one, and not the same again.
func advances(t *store.Task, status swarm.TaskStatus) bool {
	rank := store.Rank(status.State)
	if rank <= store.Rank(swarm.TaskStateAssigned) || rank > store.Rank(swarm.TaskStateRejected) {
		return false
	}
	if t.Ended() || rank < store.Rank(t.Status.State) {
		return false
	}
	status.Timestamp = t.Status.Timestamp
	return !reflect.DeepEqual(status, t.Status)
}
