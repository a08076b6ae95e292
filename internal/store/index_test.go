package store_test

import (
	"testing"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"orch/internal/store"
)

func TestTaskIndexes(t *testing.T) {
	s := open(t, store.NewMemLog())
	put := func(id string, state, desired swarm.TaskState, networks ...string) {
		task := &store.Task{}
		task.ID, task.Status.State, task.DesiredState = id, state, desired
		for _, n := range networks {
			task.NetworksAttachments = append(task.NetworksAttachments, swarm.NetworkAttachment{Network: swarm.Network{ID: n}})
		}
		update(t, s, func(tx *store.Tx) { tx.Put(task) })
	}
	ids := func(by store.By) (ids []string) {
		for _, task := range s.View().Tasks(by) {
			ids = append(ids, task.ID)
		}
		return ids
	}
	put("a", swarm.TaskStateNew, swarm.TaskStateRunning)
	put("b", swarm.TaskStatePending, swarm.TaskStateReady, "front")
	put("c", swarm.TaskStateAssigned, swarm.TaskStateRunning, "front", "back")
	put("d", swarm.TaskStatePending, swarm.TaskStateShutdown, "back")
	for _, tt := range []struct {
		name string
		by   store.By
		want []string
	}{
		{"waiting", store.Waiting(), []string{"a", "b"}},
		{"on front", store.OnNetwork("front"), []string{"b", "c"}},
		{"on back", store.OnNetwork("back"), []string{"c", "d"}},
	} {
		if diff := cmp.Diff(tt.want, ids(tt.by)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	put("a", swarm.TaskStateRunning, swarm.TaskStateRunning)
	if diff := cmp.Diff([]string{"b"}, ids(store.Waiting())); diff != "" {
		t.Errorf("once it runs: %s", diff)
	}
}
