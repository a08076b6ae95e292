package scheduler_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"orch/internal/store"
	"orch/manager/scheduler"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// state is a transaction on a store with these objects.
func state(t testing.TB, objects ...store.Object) *store.Tx {
	return open(t, objects...).View().NewTx(now)
}

func open(t testing.TB, objects ...store.Object) *store.Store {
	s := store.New(store.NewMemLog())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	<-s.Ready()
	err := s.Update(ctx, func(tx *store.Tx) error {
		for _, o := range objects {
			tx.Put(o)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func node(id string, change ...func(*store.Node)) *store.Node {
	n := &store.Node{}
	n.ID, n.Description.Hostname = id, "host-"+id
	n.Spec.Availability, n.Spec.Role = swarm.NodeAvailabilityActive, swarm.NodeRoleWorker
	n.Status.State = swarm.NodeStateReady
	n.Description.Resources = swarm.Resources{NanoCPUs: 4e9, MemoryBytes: 4 << 30}
	n.Description.Platform = swarm.Platform{OS: "linux", Architecture: "x86_64"}
	for _, fn := range change {
		fn(n)
	}
	return n
}

func service(id string) *store.Service {
	s := &store.Service{SpecVersion: 1}
	s.ID, s.Spec.Name = id, id
	return s
}

// pending is a task that waits for a node.
func pending(id, service string, change ...func(*store.Task)) *store.Task {
	t := &store.Task{SpecVersion: 1}
	t.ID, t.ServiceID = id, service
	t.DesiredState = swarm.TaskStateRunning
	t.Status = swarm.TaskStatus{State: swarm.TaskStatePending, Message: "pending task scheduling"}
	t.Spec.ContainerSpec = &swarm.ContainerSpec{}
	for _, fn := range change {
		fn(t)
	}
	return t
}

// running is a task that runs on a node.
func running(id, service, node string, change ...func(*store.Task)) *store.Task {
	t := pending(id, service, change...)
	t.NodeID, t.Status.State = node, swarm.TaskStateRunning
	return t
}

func group(n int, service string, change ...func(*store.Task)) (all []store.Object) {
	for i := range n {
		all = append(all, pending(fmt.Sprintf("%s-%03d", service, i), service, change...))
	}
	return all
}

func spread(tx *store.Tx, service string) map[string]int {
	count := map[string]int{}
	for _, t := range tx.Tasks(store.OfService(service)) {
		if t.Wanted() {
			count[t.NodeID]++
		}
	}
	return count
}

func reserve(memory int64) func(*store.Task) {
	return func(t *store.Task) {
		t.Spec.Resources = &swarm.ResourceRequirements{Reservations: &swarm.Resources{MemoryBytes: memory}}
	}
}

func placement(p swarm.Placement) func(*store.Task) {
	return func(t *store.Task) { t.Spec.Placement = &p }
}

func hostPort(number uint32) func(*store.Task) {
	return func(t *store.Task) {
		t.Endpoint = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 80, PublishedPort: number, PublishMode: swarm.PortConfigPublishModeHost}}}
	}
}

func labelled(key, value string) func(*store.Node) {
	return func(n *store.Node) { n.Spec.Labels = map[string]string{key: value} }
}

func TestSpread(t *testing.T) {
	zones := placement(swarm.Placement{Preferences: []swarm.PlacementPreference{{Spread: &swarm.SpreadOver{SpreadDescriptor: "node.labels.zone"}}}})
	failing := func(t *store.Task) {
		for range 5 {
			t.Failures = append(t.Failures, store.Failure{Node: "n1", At: now.Add(-time.Minute)})
		}
	}
	volume := func(t *store.Task) {
		t.Spec.ContainerSpec.Mounts = []mount.Mount{{Type: mount.TypeVolume, Source: "data"}}
	}
	for _, tt := range []struct {
		name    string
		objects []store.Object
		want    map[string]int
	}{
		{"evenly", append(group(6, "s"), node("n1"), node("n2"), node("n3")), map[string]int{"n1": 2, "n2": 2, "n3": 2}},
		{"fewest of the service first", append(group(2, "s"), node("n1"), node("n2"), running("a", "s", "n1"), running("b", "s", "n1")),
			map[string]int{"n1": 2, "n2": 2}},
		{"then fewest tasks", append(group(1, "s"), node("n1"), node("n2"), running("a", "other", "n1")), map[string]int{"n2": 1}},
		{"then least reserved", append(group(1, "s"), node("n1"), node("n2"),
			running("a", "x", "n1", reserve(1<<30)), running("b", "x", "n2")), map[string]int{"n2": 1}},
		{"where it failed often is last", append(group(1, "s", failing), node("n1"), node("n2"),
			running("a", "other", "n2"), running("b", "other", "n2")), map[string]int{"n2": 1}},
		{"but better than nowhere", append(group(1, "s", failing), node("n1")), map[string]int{"n1": 1}},
		{"over zones, not nodes", append(group(4, "s", zones), node("n1", labelled("zone", "a")), node("n2", labelled("zone", "a")),
			node("n3", labelled("zone", "b"))), map[string]int{"n1": 1, "n2": 1, "n3": 2}},
		{"nodes without the label are a zone", append(group(3, "s", zones), node("n1", labelled("zone", "a")),
			node("n2", labelled("zone", "b")), node("n3")), map[string]int{"n1": 1, "n2": 1, "n3": 1}},
		{"a full zone leaves it to others", append(group(4, "s", zones, reserve(2<<30)), node("n1", labelled("zone", "a"), func(n *store.Node) {
			n.Description.Resources.MemoryBytes = 2 << 30
		}), node("n2", labelled("zone", "b")), node("n3", labelled("zone", "b"))), map[string]int{"n1": 1, "n2": 2, "n3": 1}},
		{"no more than max replicas", append(group(5, "s", placement(swarm.Placement{MaxReplicas: 2})), node("n1"), node("n2")),
			map[string]int{"n1": 2, "n2": 2, "": 1}},
		{"host ports apart", append(group(3, "s", hostPort(80)), node("n1"), node("n2")), map[string]int{"n1": 1, "n2": 1, "": 1}},
		{"a volume's task returns to it", append(group(1, "s", volume, func(t *store.Task) { t.Replaces = "old" }), node("n1"), node("n2"),
			running("a", "other", "n2"), running("old", "s", "n2", volume, func(t *store.Task) { t.DesiredState = swarm.TaskStateShutdown })),
			map[string]int{"n2": 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tx := state(t, append(tt.objects, service("s"))...)
			scheduler.Schedule(tx)
			if diff := cmp.Diff(tt.want, spread(tx, "s")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExplanations(t *testing.T) {
	down := func(n *store.Node) { n.Status.State = swarm.NodeStateDown }
	paused := func(n *store.Node) { n.Spec.Availability = swarm.NodeAvailabilityPause }
	for _, tt := range []struct {
		name    string
		objects []store.Object
		want    string
	}{
		{"no nodes", nil, "no suitable node"},
		{"resources", []store.Object{node("n1"), pending("t", "s", reserve(5<<30))}, "no suitable node (insufficient resources on 1 node)"},
		{"several", []store.Object{node("n1"), node("n2"), pending("t", "s", reserve(5<<30))}, "no suitable node (insufficient resources on 2 nodes)"},
		{"the most first", []store.Object{node("n1", down), node("n2"), node("n3"), pending("t", "s", reserve(5<<30))},
			"no suitable node (insufficient resources on 2 nodes; 1 node not available for new tasks)"},
		{"paused and down", []store.Object{node("n1", down), node("n2", paused), pending("t", "s")},
			"no suitable node (2 nodes not available for new tasks)"},
		{"constraint", []store.Object{node("n1"), pending("t", "s", placement(swarm.Placement{Constraints: []string{"node.role==manager"}}))},
			"no suitable node (scheduling constraints not satisfied on 1 node)"},
		{"platform", []store.Object{node("n1"), pending("t", "s", placement(swarm.Placement{Platforms: []swarm.Platform{{OS: "linux", Architecture: "arm64"}}}))},
			"no suitable node (unsupported platform on 1 node)"},
		{"host port", []store.Object{node("n1"), running("a", "x", "n1", hostPort(80)), pending("t", "s", hostPort(80))},
			"no suitable node (host-mode port already in use on 1 node)"},
		{"max replicas", []store.Object{node("n1"), running("a", "s", "n1"), pending("t", "s", placement(swarm.Placement{MaxReplicas: 1}))},
			"no suitable node (max replicas per node limit exceed)"},
		{"plugin", []store.Object{node("n1"), pending("t", "s", func(t *store.Task) {
			t.Spec.ContainerSpec.Mounts = []mount.Mount{{Type: mount.TypeVolume, VolumeOptions: &mount.VolumeOptions{DriverConfig: &mount.Driver{Name: "rexray"}}}}
		})}, "no suitable node (missing plugin on 1 node)"},
		{"cluster volume", []store.Object{node("n1"), pending("t", "s", func(t *store.Task) {
			t.Spec.ContainerSpec.Mounts = []mount.Mount{{Type: mount.TypeCluster}}
		})}, "no suitable node (cannot fulfill requested CSI volume mounts on 1 node)"},
		{"preassigned", []store.Object{node("n1"), pending("t", "s", reserve(5<<30), func(t *store.Task) { t.NodeID = "n1" })},
			"insufficient resources on 1 node"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			objects := append(tt.objects, service("s"))
			if tt.objects == nil {
				objects = append(objects, pending("t", "s"))
			}
			tx := state(t, objects...)
			scheduler.Schedule(tx)
			got := tx.Task("t")
			if got.Status.State != swarm.TaskStatePending || got.Status.Err != tt.want {
				t.Errorf("%s %q\nwant %q", got.Status.State, got.Status.Err, tt.want)
			}
		})
	}
}

func TestUnplaceableTaskCostsNoWrite(t *testing.T) {
	waiting := pending("t", "s", reserve(5<<30))
	waiting.Status.Err = "no suitable node (insufficient resources on 1 node)"
	tx := state(t, node("n1"), service("s"), waiting)
	scheduler.Schedule(tx)
	if changes := tx.Changes(); len(changes) != 0 {
		t.Errorf("%d changes", len(changes))
	}
}

func TestReservationsOfStoppingTasksCount(t *testing.T) {
	stopping := running("a", "x", "n1", reserve(3<<30))
	stopping.DesiredState = swarm.TaskStateShutdown
	tx := state(t, node("n1"), service("s"), stopping, pending("t", "s", reserve(2<<30)))
	scheduler.Schedule(tx)
	if got := tx.Task("t").NodeID; got != "" {
		t.Errorf("assigned to %s, which is still full", got)
	}
}

func TestGenericResourcesAreAssigned(t *testing.T) {
	named := func(v string) swarm.GenericResource {
		return swarm.GenericResource{NamedResourceSpec: &swarm.NamedGenericResource{Kind: "gpu", Value: v}}
	}
	discrete := func(kind string, n int64) swarm.GenericResource {
		return swarm.GenericResource{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: kind, Value: n}}
	}
	n := node("n1", func(n *store.Node) {
		n.Description.Resources.GenericResources = []swarm.GenericResource{named("a"), named("b"), named("c"), discrete("ssd", 3)}
	})
	ask := func(t *store.Task) {
		t.Spec.Resources = &swarm.ResourceRequirements{Reservations: &swarm.Resources{
			GenericResources: []swarm.GenericResource{discrete("gpu", 1), discrete("ssd", 1)},
		}}
	}
	taken := running("a", "x", "n1")
	taken.GenericResources = []swarm.GenericResource{named("b")}
	tx := state(t, n, service("s"), taken, pending("t1", "s", ask), pending("t2", "s", ask), pending("t3", "s", ask))
	scheduler.Schedule(tx)
	want := map[string][]swarm.GenericResource{
		"t1": {named("a"), discrete("ssd", 1)}, "t2": {named("c"), discrete("ssd", 1)}, "t3": nil,
	}
	for id, resources := range want {
		if diff := cmp.Diff(resources, tx.Task(id).GenericResources); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
	}
	if got := tx.Task("t3").Status.Err; got != "no suitable node (insufficient resources on 1 node)" {
		t.Error(got)
	}
}

func TestEnforceRejectsWhatNoLongerFits(t *testing.T) {
	before := node("n1")
	after := node("n1", func(n *store.Node) { n.Description.Resources.MemoryBytes = 1 << 30 })
	tx := state(t, after, running("a", "x", "n1", reserve(1<<29)), running("b", "x", "n1", reserve(1<<30)), running("c", "x", "n1"))
	scheduler.Enforce(tx, []store.Change{{Kind: store.KindNode, Old: before, New: after}})
	for id, want := range map[string]swarm.TaskState{
		"a": swarm.TaskStateRunning, "b": swarm.TaskStateRejected, "c": swarm.TaskStateRunning,
	} {
		if got := tx.Task(id).Status.State; got != want {
			t.Errorf("%s is %s, want %s", id, got, want)
		}
	}
	if got := tx.Task("b").Status; got.Message != "task rejected by constraint enforcer" || got.Err != "assigned node no longer meets constraints" {
		t.Errorf("%q %q", got.Message, got.Err)
	}
}

// 10,000 tasks of one service onto 100 nodes.
func BenchmarkSchedule(b *testing.B) {
	objects := append(group(10_000, "s", reserve(1<<20)), service("s"))
	for i := range 100 {
		objects = append(objects, node(fmt.Sprintf("n%03d", i), func(n *store.Node) { n.Description.Resources.MemoryBytes = 1 << 40 }))
	}
	s := open(b, objects...)
	for b.Loop() {
		dry := s.View().NewTx(now)
		scheduler.Schedule(dry)
		if n := len(dry.Tasks(store.OnNode("n000"))); n != 100 {
			b.Fatalf("%d tasks on a node", n)
		}
	}
}
