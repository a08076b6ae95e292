package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// api is a small cluster: what it holds it lists.
type api struct {
	client.APIClient
	orch bool

	// mu guards what follows.
	mu       sync.Mutex
	down     error
	services []swarm.Service
	tasks    []swarm.Task
	lists    int // how often all tasks were read
	messages chan events.Message
	broken   chan error
}

func newAPI() *api {
	return &api{messages: make(chan events.Message), broken: make(chan error)}
}

func (a *api) state() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.down
}

func (a *api) Ping(context.Context) (types.Ping, error) { return types.Ping{}, a.state() }

func (a *api) NodeList(context.Context, swarm.NodeListOptions) ([]swarm.Node, error) {
	return nil, a.state()
}

func (a *api) ServiceList(_ context.Context, o swarm.ServiceListOptions) ([]swarm.Service, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.services), func(s swarm.Service) bool { return o.Filters.Len() > 0 && !o.Filters.ExactMatch("id", s.ID) }), a.down
}

func (a *api) TaskList(_ context.Context, o swarm.TaskListOptions) ([]swarm.Task, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if o.Filters.Len() == 0 {
		a.lists++
	}
	return slices.DeleteFunc(slices.Clone(a.tasks), func(t swarm.Task) bool { return o.Filters.Len() > 0 && !o.Filters.ExactMatch("id", t.ID) }), a.down
}

func (a *api) Events(_ context.Context, o events.ListOptions) (<-chan events.Message, <-chan error) {
	if !o.Filters.ExactMatch("type", "task") {
		panic("task events are not asked for")
	}
	return a.messages, a.broken
}

func (a *api) ServerVersion(context.Context) (v types.Version, err error) {
	if a.orch {
		v.Components = []types.ComponentVersion{{Name: "orch"}}
	}
	return v, a.state()
}

func (a *api) Info(context.Context) (i system.Info, err error) {
	i.Swarm.NodeID = "n1"
	return i, a.state()
}

func (a *api) NetworkList(context.Context, network.ListOptions) ([]network.Summary, error) {
	return nil, a.state()
}

func (a *api) SecretList(context.Context, swarm.SecretListOptions) ([]swarm.Secret, error) {
	return nil, a.state()
}

func (a *api) ConfigList(context.Context, swarm.ConfigListOptions) ([]swarm.Config, error) {
	return nil, a.state()
}

func (a *api) VolumeList(context.Context, volume.ListOptions) (volume.ListResponse, error) {
	return volume.ListResponse{}, errors.New("this engine has no volumes") // no reason to show nothing at all
}

func (a *api) ImageList(context.Context, image.ListOptions) ([]image.Summary, error) {
	return nil, a.state()
}

func (a *api) change(do func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	do()
}

// watch runs Watch in a bubble and returns what was published last.
func watch(t *testing.T, apis ...*api) (last func() State, end func()) {
	var all []Endpoint
	for i, a := range apis {
		all = append(all, Endpoint{Host: fmt.Sprintf("m%d", i+1), API: a})
	}
	p, err := NewPool(all)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var now State
	done := make(chan struct{})
	go func() {
		defer close(done)
		Watch(ctx, p, func(s State) { mu.Lock(); defer mu.Unlock(); now = s })
	}()
	return func() State { synctest.Wait(); mu.Lock(); defer mu.Unlock(); return now }, func() { cancel(); <-done }
}

func task(id string, state swarm.TaskState) swarm.Task {
	t := swarm.Task{ID: id, ServiceID: "s", Slot: 1, DesiredState: swarm.TaskStateRunning}
	t.Status.State = state
	return t
}

func service(replicas uint64) swarm.Service {
	s := swarm.Service{ID: "s"}
	s.Spec.Name, s.Spec.Mode.Replicated = "web", &swarm.ReplicatedService{Replicas: &replicas}
	return s
}

// TestOrchIsWatchedAndNotPolled: an event is on its way within 200 ms, one task is read for it, and in an hour without events nothing is.
func TestOrchIsWatchedAndNotPolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		a.orch, a.services, a.tasks = true, []swarm.Service{service(1)}, []swarm.Task{task("t", swarm.TaskStatePending)}
		last, end := watch(t, a)
		defer end()
		if s := last(); !s.Orch || s.Services[0].There != 0 || s.Services[0].Desired != 1 || s.Tasks[0].Name != "web.1" {
			t.Fatalf("began with %+v", s)
		}
		a.change(func() { a.tasks[0] = task("t", swarm.TaskStateRunning) })
		a.messages <- events.Message{Type: "task", Actor: events.Actor{ID: "t"}}
		time.Sleep(settle)
		if s := last(); s.Services[0].There != 1 {
			t.Errorf("after an event: %+v", s.Services[0])
		}
		a.change(func() { a.tasks = nil })
		a.messages <- events.Message{Type: "task", Action: "remove", Actor: events.Actor{ID: "t"}}
		time.Sleep(settle)
		if s := last(); len(s.Tasks) != 0 || s.Services[0].There != 0 {
			t.Errorf("a removed task is still there: %+v", s.Tasks)
		}
		time.Sleep(time.Hour)
		if a.lists != 1 {
			t.Errorf("all tasks were read %d times", a.lists)
		}
	})
}

func TestASwarmIsPolledForItsTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		a.services, a.tasks = []swarm.Service{service(1)}, []swarm.Task{task("t", swarm.TaskStatePending)}
		last, end := watch(t, a)
		defer end()
		last()
		a.change(func() { a.tasks[0] = task("t", swarm.TaskStateRunning) })
		time.Sleep(taskPeriod + settle)
		if s := last(); s.Orch || s.Services[0].There != 1 {
			t.Errorf("after a period: %+v", s.Services[0])
		}
	})
}

// TestAnotherManagerTakesOver: the state is stale from the moment on when it could not be read, and then another manager's.
func TestAnotherManagerTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newAPI(), newAPI()
		first.services = []swarm.Service{service(1)}
		second.services, second.down = []swarm.Service{service(2)}, errors.New("not yet")
		last, end := watch(t, first, second)
		defer end()
		last()
		first.change(func() { first.down = errors.New("gone") })
		begin := time.Now()
		first.broken <- errors.New("gone")
		time.Sleep(retryEvery + time.Millisecond)
		if s := last(); !s.StaleSince.Equal(begin) || s.Err == nil || len(s.Services) != 1 {
			t.Errorf("stale since %v with %v", s.StaleSince, s.Err)
		}
		second.change(func() { second.down = nil })
		time.Sleep(3 * retryEvery)
		if s := last(); s.Err != nil || !s.StaleSince.IsZero() || s.Endpoint != "m2" || s.Services[0].Desired != 2 {
			t.Errorf("of %s, stale since %v: %+v", s.Endpoint, s.StaleSince, s.Services)
		}
	})
}

func TestRememberIsBoundedAndLeavesOldSnapshotsAlone(t *testing.T) {
	var kept []events.Message
	for i := range keptEvents + 5 {
		kept = remember(kept, events.Message{Time: int64(i)})
	}
	before := kept
	after := remember(kept, events.Message{Time: 999})
	if len(after) != keptEvents || before[0].Time != 5 || after[len(after)-1].Time != 999 {
		t.Errorf("kept %d, first before %d", len(after), before[0].Time)
	}
}

func TestAServiceThatRunsOnceIsDone(t *testing.T) {
	s := service(1)
	s.Spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionOnFailure}
	done := task("t", swarm.TaskStateComplete)
	done.DesiredState = swarm.TaskStateShutdown
	if got := Make(nil, []swarm.Service{s}, []swarm.Task{done}).Services[0]; got.There != 1 {
		t.Errorf("there are %d", got.There)
	}
	if got := Make(nil, []swarm.Service{service(1)}, []swarm.Task{done}).Services[0]; got.There != 0 {
		t.Errorf("of a service that goes on there are %d", got.There)
	}
}
