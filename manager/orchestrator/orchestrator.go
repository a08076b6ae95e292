package orchestrator

import (
	"time"

	"orch/internal/bus"
	"orch/internal/store"
)

// Reconcile brings the tasks of these services (IDs; also of services that no
// longer exist) to what their specs ask for, and returns when to look at which
// service again if nothing changes before.
func Reconcile(tx *store.Tx, services []string) map[string]time.Time { return nil }

// Affected lists the services that changes concern.
func Affected(v *store.View, changes []store.Change) []string { return nil }

// Observe applies what a worker reports of a task. It is false if the report
// says nothing new or is of no task of that node.
func Observe(tx *store.Tx, node string, s bus.TaskStatus) bool { return false }
