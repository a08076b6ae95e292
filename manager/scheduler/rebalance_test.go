package scheduler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"orch/internal/store"
	"orch/manager/scheduler"
)

// service of n tasks that run where it says.
func spreadOver(id string, change func(*store.Service), nodes ...string) []store.Object {
	s := service(id)
	n := uint64(len(nodes))
	s.Spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &n}
	if change != nil {
		change(s)
	}
	all := []store.Object{s}
	for i, node := range nodes {
		all = append(all, running(fmt.Sprintf("%s-%d", id, i), id, node, func(t *store.Task) { t.Slot, t.Spec = i+1, s.Spec.TaskTemplate }))
		if t := all[len(all)-1].(*store.Task); t.Spec.ContainerSpec == nil {
			t.Spec.ContainerSpec = &swarm.ContainerSpec{}
		}
	}
	return all
}

func TestRebalance(t *testing.T) {
	parallel := func(n uint64, order string) func(*store.Service) {
		return func(s *store.Service) { s.Spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: n, Order: order} }
	}
	first := parallel(1, swarm.UpdateOrderStartFirst)
	join := func(lists ...[]store.Object) (all []store.Object) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return append(all, node("n1"), node("n2"))
	}
	for _, tt := range []struct {
		name    string
		objects []store.Object
		want    []string // service from>to
	}{
		{"even already", join(spreadOver("a", nil, "n1", "n2")), nil},
		{"one more is even enough", join(spreadOver("a", nil, "n1", "n1", "n2")), nil},
		{"a node that came back", join(spreadOver("a", nil, "n1", "n1", "n1", "n1")), []string{"a n1>n2"}},
		{"as many at a time as an update", join(spreadOver("a", parallel(2, ""), "n1", "n1", "n1", "n1")), []string{"a n1>n2", "a n1>n2"}},
		{"not more than makes it even", join(spreadOver("a", parallel(4, ""), "n1", "n1", "n1", "n1")), []string{"a n1>n2", "a n1>n2"}},
		{"the last task is not stopped", join(spreadOver("a", nil, "n1"), spreadOver("b", nil, "n1")), nil},
		{"but moved if its successor starts first", join(spreadOver("a", first, "n1"), spreadOver("b", first, "n1")), []string{"a n1>n2"}},
		{"nothing for its own sake", join(spreadOver("a", first, "n1")), nil},
		{"not while an update is under way", join(spreadOver("a", func(s *store.Service) {
			s.UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStateUpdating}
		}, "n1", "n1", "n1")), nil},
		{"not while one is missing", append(join(spreadOver("a", nil, "n1", "n1", "n1")), pending("a-9", "a")), nil},
		{"not while one moves", append(join(spreadOver("a", nil, "n1", "n1", "n1")), running("a-9", "a", "n1", func(t *store.Task) { t.Moving = true })), nil},
		{"not against its constraints", join(spreadOver("a", func(s *store.Service) {
			s.Spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.id==n1"}}
		}, "n1", "n1", "n1")), nil},
		{"not away from its volumes", join(spreadOver("a", func(s *store.Service) {
			s.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: "data"}}}
		}, "n1", "n1", "n1")), nil},
		{"not against the user's word", join(spreadOver("a", func(s *store.Service) {
			s.Spec.Labels = map[string]string{scheduler.RebalanceLabel: scheduler.Off}
		}, "n1", "n1", "n1")), nil},
		{"not to a drained node", append(join(spreadOver("a", nil, "n1", "n1", "n1")), node("n2", func(n *store.Node) { n.Spec.Availability = swarm.NodeAvailabilityDrain })), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, m := range scheduler.Rebalance(state(t, tt.objects...)) {
				got = append(got, fmt.Sprintf("%s %s>%s", m.ServiceName, m.From, m.To))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("moves (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTasksStayWithTheirVolumes(t *testing.T) {
	volume := func(t *store.Task) {
		t.Slot = 1
		t.Spec.ContainerSpec.Mounts = []mount.Mount{{Type: mount.TypeVolume, Source: "data"}}
	}
	ended := func(t *store.Task) {
		volume(t)
		t.DesiredState, t.RunningAt = swarm.TaskStateShutdown, now
	}
	anywhere := func(s *store.Service) { s.Spec.Labels = map[string]string{scheduler.VolumesLabel: scheduler.Anywhere} }
	for _, tt := range []struct {
		name   string
		change func(*store.Service)
		home   *store.Node
		want   string // its node, or why it has none
	}{
		{"the node is there", nil, node("n1"), "n1"},
		{"the node is down", nil, node("n1", func(n *store.Node) { n.Status.State = swarm.NodeStateDown }), "the task's volumes are on host-n1: it is down"},
		{"the node is drained", nil, node("n1", func(n *store.Node) { n.Spec.Availability = swarm.NodeAvailabilityDrain }), "host-n1: it is drained"},
		{"the node is down, and the user does not mind", anywhere, node("n1", func(n *store.Node) { n.Status.State = swarm.NodeStateDown }), "n2"},
		{"the node was removed", nil, nil, "n2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := service("s")
			if tt.change != nil {
				tt.change(s)
			}
			objects := []store.Object{s, node("n2"), pending("new", "s", volume), running("old", "s", "n1", ended)}
			if tt.home != nil {
				objects = append(objects, tt.home)
			}
			tx := state(t, objects...)
			scheduler.Schedule(tx)
			got := tx.Task("new")
			if got.NodeID != tt.want && (got.NodeID != "" || !strings.Contains(got.Status.Err, tt.want)) {
				t.Errorf("on %q, %q; want %q", got.NodeID, got.Status.Err, tt.want)
			}
		})
	}
}
