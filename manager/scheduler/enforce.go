package scheduler

import (
	"cmp"
	"reflect"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// Enforce rejects the tasks on changed nodes that no longer satisfy their
// service's constraints or no longer fit what the node has. What becomes of a
// rejected task is for its service's restart policy to say.
func Enforce(tx *store.Tx, changes []store.Change) {
	for _, c := range changes {
		if c.Kind != store.KindNode || c.New == nil {
			continue
		}
		// What is in the transaction is newer than the change.
		n := tx.Node(c.ID())
		if n == nil || n.Spec.Availability != swarm.NodeAvailabilityActive || !bearsOnPlacement(c) {
			continue
		}
		enforce(tx, n)
	}
}

func bearsOnPlacement(c store.Change) bool {
	if c.Old == nil {
		return true
	}
	before, after := c.Old.(*store.Node), c.New.(*store.Node)
	return before.Status.Addr != after.Status.Addr || !reflect.DeepEqual(before.Spec, after.Spec) ||
		!reflect.DeepEqual(before.Description, after.Description)
}

func enforce(tx *store.Tx, n *store.Node) {
	left := newNode(n)
	tasks := tx.Tasks(store.OnNode(n.ID))
	slices.SortStableFunc(tasks, func(a, b *store.Task) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	for _, t := range tasks {
		if !t.Assigned() || t.Ended() || !t.Wanted() {
			continue
		}
		if !permitted(tx, t, n) || !holds(left, t) {
			reject(tx, t)
			continue
		}
		left.add(t, false)
	}
}

// permitted checks the service's present constraints: the task's may be older,
// as a change that its node satisfies does not replace it.
func permitted(tx *store.Tx, t *store.Task, n *store.Node) bool {
	placement := t.Spec.Placement
	if s := tx.Service(t.ServiceID); s != nil {
		placement = s.Spec.TaskTemplate.Placement
	}
	if placement == nil {
		return true
	}
	constraints, err := ParseConstraints(placement.Constraints)
	return err != nil || constraints.Match(n)
}

// holds says whether the node has what the task holds. A node that tells
// nothing of its resources has not lost any.
func holds(left *node, t *store.Task) bool {
	total := left.Description.Resources
	if total.NanoCPUs == 0 && total.MemoryBytes == 0 {
		return true
	}
	r := reservations(t)
	if r.NanoCPUs > max(0, left.cpu) || r.MemoryBytes > max(0, left.memory) {
		return false
	}
	for _, g := range t.GenericResources {
		switch {
		case g.DiscreteResourceSpec != nil:
			if available(left.generic, g.DiscreteResourceSpec.Kind) < g.DiscreteResourceSpec.Value {
				return false
			}
		case g.NamedResourceSpec != nil:
			if !slices.ContainsFunc(left.generic, func(have swarm.GenericResource) bool {
				return have.NamedResourceSpec != nil && *have.NamedResourceSpec == *g.NamedResourceSpec
			}) {
				return false
			}
		}
	}
	return true
}

func reject(tx *store.Tx, t *store.Task) {
	c := *t
	c.Status.State, c.Status.Timestamp = swarm.TaskStateRejected, tx.Now()
	c.Status.Message = "task rejected by constraint enforcer"
	c.Status.Err = "assigned node no longer meets constraints"
	c.AppliedAt = tx.Now()
	tx.Put(&c)
}
