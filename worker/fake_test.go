package worker

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/worker/engine"
	"orch/worker/engine/sim"
	"orch/worker/network"
)

// managers are a small cluster's managers: they assign what the test says, and keep what is reported.
type managers struct {
	mu       sync.Mutex // guards what follows
	full     bus.Assignments
	history  map[string][]string // states reported, by task
	status   map[string]bus.TaskStatus
	applied  uint64
	sessions int
	refuse   error // of every request

	increments  chan bus.Assignments
	reconnected chan struct{}
	news        chan struct{} // after each report
}

func newManagers(tasks ...bus.Task) *managers {
	return &managers{
		full: bus.Assignments{Cluster: "c", Epoch: 1, Full: true, Tasks: tasks}, history: map[string][]string{}, status: map[string]bus.TaskStatus{},
		increments: make(chan bus.Assignments, 100), reconnected: make(chan struct{}, 1),
		news: make(chan struct{}, 1),
	}
}

func (m *managers) Session(_ context.Context, s bus.Session) (bus.Assignments, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse != nil {
		return bus.Assignments{}, m.refuse
	}
	m.sessions++
	m.full.Seq++
	return m.full, nil
}

func (m *managers) Next(ctx context.Context) (bus.Assignments, error) {
	select {
	case a := <-m.increments:
		return a, nil
	case <-ctx.Done():
		return bus.Assignments{}, ctx.Err()
	}
}

func (m *managers) Reconnected() <-chan struct{} { return m.reconnected }
func (m *managers) Elsewhere()                   {}

func (m *managers) Beat(_ context.Context, b bus.Beat) (bus.Reply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse != nil {
		return bus.Reply{}, m.refuse
	}
	m.applied = b.Applied
	return bus.Reply{Epoch: m.full.Epoch, Seq: m.full.Seq}, nil
}

func (m *managers) Report(_ context.Context, r bus.Report) (bus.Reply, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuse != nil {
		return bus.Reply{}, m.refuse
	}
	for _, s := range r.Statuses {
		said := string(s.Status.State) + " " + s.Status.Message
		if s.Status.Err != "" {
			said += ": " + s.Status.Err
		}
		if s.Gone {
			said = "gone"
		}
		m.history[s.TaskID] = append(m.history[s.TaskID], said)
		m.status[s.TaskID] = s
	}
	signal(m.news)
	return bus.Reply{Epoch: m.full.Epoch, Seq: m.full.Seq}, nil
}

// push sends an increment; lost ones only count.
func (m *managers) push(a bus.Assignments, lost bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.full.Seq++
	a.Cluster, a.Epoch, a.Seq = m.full.Cluster, m.full.Epoch, m.full.Seq
	for _, t := range a.Tasks {
		m.full.Tasks = replaced(m.full.Tasks, t.ID, &t)
	}
	m.full.Secrets = append(m.full.Secrets, a.Secrets...)
	for _, r := range a.Removed {
		m.full.Tasks = replaced(m.full.Tasks, r.ID, nil)
	}
	if !lost {
		m.increments <- a
	}
}

func replaced(in []bus.Task, id string, with *bus.Task) []bus.Task {
	var out []bus.Task
	for _, t := range in {
		if t.ID != id {
			out = append(out, t)
		}
	}
	if with != nil {
		out = append(out, *with)
	}
	return out
}

func (m *managers) Image(context.Context, bus.ImageRequest) (bus.ImageReply, error) {
	return bus.ImageReply{}, nil
}

func (m *managers) set(do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	do()
}

// position is the last message's number, and the last that was confirmed.
func (m *managers) position() (sent, confirmed uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.full.Seq, m.applied
}

// container is what was last reported of a task's.
func (m *managers) container(id string) swarm.ContainerStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.status[id].Status.ContainerStatus; c != nil {
		return *c
	}
	return swarm.ContainerStatus{}
}

// said is the last that was reported of a task.
func (m *managers) said(id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h := m.history[id]; len(h) > 0 {
		return h[len(h)-1]
	}
	return ""
}

// silent is a network that does nothing but count.
type silent struct {
	mu       sync.Mutex // guards what follows
	attached map[string]bool
	applied  int
	fail     error
	onDrain  func()
	attach   error // what joining networks ends with
}

func (s *silent) Apply(context.Context, network.State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied++
	return s.fail
}
func (s *silent) Ensure(_ context.Context, n bus.Network) (string, error) { return "net-" + n.ID, nil }
func (s *silent) DNS([]string) []string                                   { return []string{"10.0.0.1"} }
func (s *silent) Attach(_ context.Context, task, _ string, _ int, _ []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.attach == nil {
		s.attached[task] = true
	}
	return s.attach
}
func (s *silent) Drain(context.Context, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.onDrain != nil {
		s.onDrain()
	}
}

func (s *silent) Detach(task string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.attached, task)
}
func (s *silent) Encryption() ([]string, string)     { return nil, "" }
func (s *silent) Conditions() []string               { return nil }
func (s *silent) PortErrorsChanged() <-chan struct{} { return nil }
func (s *silent) UsedSubnets() ([]string, error)     { return nil, nil }
func (s *silent) Teardown(context.Context) error     { return nil }

// world is an agent on a simulated engine.
type world struct {
	t        *testing.T
	engine   *sim.Engine
	managers *managers
	network  *silent
	dir      string
	agent    *Agent
	stop     func()
}

// inWorld runs a test in simulated time.
func inWorld(t *testing.T, cfg sim.Config, tasks []bus.Task, test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.Images = append(cfg.Images, "t:latest")
		w := &world{t: t, engine: sim.New(cfg), managers: newManagers(tasks...), dir: t.TempDir(), network: &silent{attached: map[string]bool{}}}
		w.run()
		test(w)
		w.stop()
		if err := w.agent.files.Close(); err != nil {
			t.Error(err)
		}
	})
}

// run starts the agent, for the first time or again.
func (w *world) run() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	var err error
	w.agent, err = New(ctx, Config{
		NodeID: "n", ClusterID: "c", Dir: w.dir, RunDir: w.dir + "/run", Engine: w.engine, Network: w.network, Managers: w.managers,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- w.agent.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run: %v", err)
		}
	}
	synctest.Wait()
}

// containers are the engine's, by name.
func (w *world) containers() map[string]engine.State { return w.engine.Containers() }

func (w *world) expect(task, want string) {
	w.t.Helper()
	synctest.Wait()
	if got := w.managers.said(task); got != want {
		w.managers.set(func() { w.t.Errorf("task %s: said %q, want %q; all: %q", task, got, want, w.managers.history[task]) })
	}
}

// taskOf is a task that runs a command of the test image.
func taskOf(id string, cmd ...string) bus.Task {
	return bus.Task{Name: "web.1." + id, ServiceName: "web", Task: swarm.Task{
		ID: id, ServiceID: "s", NodeID: "n", Slot: 1, DesiredState: swarm.TaskStateRunning,
		Status: swarm.TaskStatus{State: swarm.TaskStateAssigned},
		Spec:   swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "t", Args: cmd}},
	}}
}

func many(n int, cmd ...string) []bus.Task {
	var out []bus.Task
	for i := range n {
		out = append(out, taskOf("t"+strconv.Itoa(i), cmd...))
	}
	return out
}
