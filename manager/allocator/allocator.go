package allocator

import "orch/internal/store"

// Allocate gives networks, then these services (IDs) and then all new tasks what they need.
func Allocate(tx *store.Tx, services []string) {}

// AttachNodes gives nodes their own address on every network that they now have
// a task on. It runs after the scheduler.
func AttachNodes(tx *store.Tx) {}
