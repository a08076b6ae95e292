package scheduler

import (
	"fmt"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// VolumesLabel on a service, with the value Anywhere, lets its tasks start on a node that does not have their volumes.
const (
	VolumesLabel = "orch.volumes"
	Anywhere     = "anywhere"
)

// pinned says that the task's data is on one node, and that it is not to start without.
func pinned(s *store.Service, t *store.Task) bool {
	return hasLocalVolume(t) && (s == nil || s.Spec.Labels[VolumesLabel] != Anywhere)
}

// home is the node that has the volumes of the task's slot: where the latest task ran that was in it. It is nil
// where none has run, or its node is no longer in the cluster, and the volumes with it.
func (s *state) home(t *store.Task) *node {
	var last *store.Task
	for _, other := range s.tx.Tasks(store.OfService(t.ServiceID)) {
		ran := other.Status.State == swarm.TaskStateRunning || !other.RunningAt.IsZero()
		if other.Slot != t.Slot || other.ID == t.ID || !ran || !hasLocalVolume(other) {
			continue
		}
		if last == nil || other.CreatedAt.After(last.CreatedAt) {
			last = other
		}
	}
	if last == nil {
		return nil
	}
	return s.byID[last.NodeID]
}

// settle brings tasks with volumes of a node's own back to that node, lets them wait for it, saying why, and returns the
// others.
func (s *state) settle(group []*store.Task, f filterSet) (others []*store.Task) {
	if !hasLocalVolume(group[0]) {
		return group
	}
	stay := pinned(s.tx.Service(group[0].ServiceID), group[0])
	for _, t := range group {
		n := s.home(t)
		switch {
		case n == nil:
			others = append(others, t)
		case f.pass(n):
			s.assign(t, n, "scheduler assigned task to node")
		case stay:
			s.explain(t, fmt.Sprintf("no suitable node (the task's volumes are on %s: %s; the service label %s=%s lets it start elsewhere, without them)",
				n.Description.Hostname, absence(n, f), VolumesLabel, Anywhere))
		default:
			others = append(others, t)
		}
	}
	return others
}

// absence is why a node cannot take a task that belongs there.
func absence(n *node, f filterSet) string {
	switch {
	case n.Status.State == swarm.NodeStateDown:
		return "it is down"
	case n.Spec.Availability != swarm.NodeAvailabilityActive:
		return "it is " + map[swarm.NodeAvailability]string{swarm.NodeAvailabilityDrain: "drained", swarm.NodeAvailabilityPause: "paused"}[n.Spec.Availability]
	}
	return f.explain([]*node{n})
}
