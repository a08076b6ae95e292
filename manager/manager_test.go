package manager

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/internal/bus/bustest"
	"orch/internal/identity"
	"orch/internal/store"
)

// start runs a manager of a new cluster; it ends with the test.
func start(t *testing.T) *Manager {
	t.Helper()
	return startWith(t, bustest.New(t), nil)
}

// startWith is start in a cluster that the test knows, and with a log if it gives one.
func startWith(t *testing.T, cluster *bustest.Cluster, log *slog.Logger) *Manager {
	t.Helper()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	m, err := Start(t.Context(), Config{
		NodeID: "m1", ClusterID: bustest.ClusterID, Dir: t.TempDir(), ClientAddr: "127.0.0.1:0", RouteAddr: "127.0.0.1:0", AdmitAddr: "127.0.0.1:0",
		Identity: cluster.Node(t, "m1", identity.Manager, bustest.ClusterID), Seal: identity.NewKey(),
		Founding: &Founding{CA: cluster.CA, Addr: "127.0.0.1:2377"}, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		m.Stop()
	})
	return m
}

// worker opens the session of the manager's own node.
func worker(t *testing.T, m *Manager) (*bus.WorkerConn, bus.Assignments) {
	t.Helper()
	conn, err := bus.DialWorker(t.Context(), bus.WorkerConfig{NodeID: "m1", Server: m.Bus(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	desc := swarm.NodeDescription{Hostname: "host", Platform: swarm.Platform{OS: "linux", Architecture: "x86_64"}}
	desc.Resources = swarm.Resources{NanoCPUs: 2e9, MemoryBytes: 1 << 30}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for {
		full, err := conn.Session(ctx, bus.Session{Node: "m1", Description: desc, Address: "127.0.0.1"})
		if err == nil {
			return conn, full
		}
		if ctx.Err() != nil {
			t.Fatalf("session: %v", err)
		}
	}
}

// From a service in the state to a task that runs, with the real bus in between,
// and from its failure to the replacement.
func TestServiceBecomesTasks(t *testing.T) {
	m := start(t)
	conn, full := worker(t, m)
	if !full.Full || full.Seq != 1 || len(full.Tasks) != 0 {
		t.Fatalf("first set: %+v", full)
	}
	replicas := uint64(2)
	err := m.Store().Update(t.Context(), func(tx *store.Tx) error {
		s := &store.Service{SpecVersion: 1}
		s.ID, s.Spec.Name = identity.NewID(), "web"
		s.Spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &replicas}
		s.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "web:1"}
		s.Spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny, Delay: new(time.Duration)}
		tx.Put(s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got := next(t, conn)
	if len(got.Tasks) != 2 || got.Tasks[0].DesiredState != swarm.TaskStateRunning {
		t.Fatalf("assigned: %+v", got)
	}
	failed := got.Tasks[0]
	begin := time.Now()
	report(t, conn, full.Epoch, failed.ID, swarm.TaskStateFailed)
	for {
		got := next(t, conn)
		for _, task := range got.Tasks {
			if task.ID != failed.ID && task.Slot == failed.Slot && task.DesiredState == swarm.TaskStateRunning {
				t.Logf("failure to replacement: %v", time.Since(begin))
				return
			}
		}
	}
}

func TestStoppedManagerKeepsItsState(t *testing.T) {
	cluster := bustest.New(t)
	cfg := Config{
		NodeID: "m1", ClusterID: bustest.ClusterID, Dir: t.TempDir(), ClientAddr: "127.0.0.1:0", RouteAddr: "127.0.0.1:0", AdmitAddr: "127.0.0.1:0",
		Identity: cluster.Node(t, "m1", identity.Manager, bustest.ClusterID), Seal: identity.NewKey(),
		Founding: &Founding{CA: cluster.CA, Addr: "127.0.0.1:2377"}, Log: slog.New(slog.DiscardHandler),
	}
	m, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	id := m.Store().View().Cluster().ID
	m.Stop()
	cfg.Founding = nil
	if m, err = Start(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	defer m.Stop()
	if c := m.Store().View().Cluster(); c == nil || c.ID != id || m.Store().View().Node("m1") == nil {
		t.Errorf("after a restart: cluster %+v", c)
	}
}

func next(t *testing.T, conn *bus.WorkerConn) bus.Assignments {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	a, err := conn.Next(ctx)
	if err != nil {
		t.Fatalf("next assignments: %v", err)
	}
	return a
}

func report(t *testing.T, conn *bus.WorkerConn, epoch uint64, task string, state swarm.TaskState) {
	t.Helper()
	_, err := conn.Report(t.Context(), bus.Report{Node: "m1", Epoch: epoch, Statuses: []bus.TaskStatus{{
		TaskID: task, Status: swarm.TaskStatus{State: state, Timestamp: time.Now(), Err: "task: non-zero exit (3)"},
	}}})
	if err != nil {
		t.Fatalf("report: %v", err)
	}
}
