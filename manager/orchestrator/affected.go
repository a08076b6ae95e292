package orchestrator

import (
	"maps"
	"reflect"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// Affected lists the services that changes concern, in order of their IDs.
func Affected(v *store.View, changes []store.Change) []string {
	due := map[string]bool{}
	for _, c := range changes {
		switch c.Kind {
		case store.KindService:
			due[c.ID()] = true
		case store.KindTask:
			if taskMatters(c) {
				due[serviceOf(c)] = true
			}
		case store.KindNode:
			if nodeMatters(c) {
				addNode(v, c.ID(), due)
			}
		case store.KindCluster:
			if clusterMatters(c) {
				for _, s := range v.Services(store.All()) {
					due[s.ID] = true
				}
			}
		}
	}
	delete(due, "")
	return slices.Sorted(maps.Keys(due))
}

func addNode(v *store.View, id string, due map[string]bool) {
	for _, t := range v.Tasks(store.OnNode(id)) {
		due[t.ServiceID] = true
	}
	for _, s := range v.Services(store.All()) {
		if s.Spec.Mode.Global != nil || s.Spec.Mode.GlobalJob != nil {
			due[s.ID] = true
		}
	}
}

func serviceOf(c store.Change) string {
	if c.New != nil {
		return c.New.(*store.Task).ServiceID
	}
	return c.Old.(*store.Task).ServiceID
}

// taskMatters is false for a task's steps on the way to running: there is
// nothing to decide until it runs or ends, unless a slot's turn in an update
// waits for it to be prepared, or for the word that it cannot be placed.
func taskMatters(c store.Change) bool {
	if c.Old == nil || c.New == nil {
		return true
	}
	before, after := c.Old.(*store.Task), c.New.(*store.Task)
	if after.Rolled && after.DesiredState == swarm.TaskStateReady &&
		(before.Status.State != swarm.TaskStateReady && after.Status.State == swarm.TaskStateReady || before.Status.Err != after.Status.Err) {
		return true
	}
	return before.DesiredState != after.DesiredState || before.Moving != after.Moving || before.NodeID != after.NodeID ||
		before.Status.State != after.Status.State && store.Rank(after.Status.State) >= store.Rank(swarm.TaskStateRunning)
}

// nodeMatters is false for what has no bearing on where tasks may run, such as
// addresses that the node was given.
func nodeMatters(c store.Change) bool {
	if c.Old == nil || c.New == nil {
		return true
	}
	before, after := c.Old.(*store.Node), c.New.(*store.Node)
	return before.Status != after.Status || before.DownAt != after.DownAt ||
		!reflect.DeepEqual(before.Spec, after.Spec) || !reflect.DeepEqual(before.Description, after.Description)
}

func clusterMatters(c store.Change) bool {
	if c.Old == nil || c.New == nil {
		return true
	}
	before, after := c.Old.(*store.Cluster), c.New.(*store.Cluster)
	return !reflect.DeepEqual(before.Spec.Orchestration, after.Spec.Orchestration)
}
