package scheduler

import "orch/internal/store"

// Enforce rejects the tasks on changed nodes that may no longer run there.
func Enforce(tx *store.Tx, changes []store.Change) {}

// Schedule assigns waiting tasks to nodes.
func Schedule(tx *store.Tx) {}
