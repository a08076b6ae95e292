package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"orch/internal/bus"
	"orch/internal/bus/bustest"
	"orch/internal/identity"
)

// serve answers workers in the simplest way.
func serve(t *testing.T, s *bus.Server, h bus.Handlers) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Manager().Serve(ctx, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func dial(t *testing.T, c *bustest.Cluster, s *bus.Server, node string) *bus.WorkerConn {
	t.Helper()
	return dialWith(t, bus.WorkerConfig{NodeID: node, TLS: c.Node(t, node, identity.Worker, bustest.ClusterID).Client(), Addrs: []string{s.ClientAddr()}})
}

func dialWith(t *testing.T, cfg bus.WorkerConfig) *bus.WorkerConn {
	t.Helper()
	w, err := bus.DialWorker(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// eventually asks again while nobody answers, as a worker does.
func eventually(t *testing.T, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		if !errors.Is(err, bus.ErrNoManager) {
			t.Fatal(err)
		}
	}
}

func TestWorkerSession(t *testing.T) {
	c := bustest.New(t)
	s := c.Start(t)
	// Sets of every size arrive whole: this one is 500 tasks and 30 configs of the
	// largest size, five times what fits into one message.
	var large bus.Assignments
	for i := range 500 {
		large.Tasks = append(large.Tasks, bus.Task{Task: swarm.Task{ID: fmt.Sprint(i)}})
	}
	for i := range 30 {
		large.Configs = append(large.Configs, bus.Config{ID: fmt.Sprint(i), Data: bytes.Repeat([]byte{byte(i)}, 1<<20)})
	}
	large.Seq, large.Epoch, large.Full = 1, 7, true
	serve(t, s, bus.Handlers{
		Session: func(_ context.Context, in bus.Session) (bus.Assignments, error) {
			if in.Address == "refuse" {
				return bus.Assignments{}, errors.New("node is not part of the cluster")
			}
			return large, nil
		},
		Beat:   func(_ context.Context, b bus.Beat) (bus.Reply, error) { return bus.Reply{Seq: 5, Epoch: b.Epoch}, nil },
		Report: func(_ context.Context, r bus.Report) (bus.Reply, error) { return bus.Reply{}, errors.New("not stored") },
	})
	for name, w := range map[string]*bus.WorkerConn{
		"over TLS":   dial(t, c, s, "w1"),
		"in process": dialWith(t, bus.WorkerConfig{NodeID: "m1", Server: s}),
	} {
		t.Run(name, func(t *testing.T) {
			node := map[string]string{"over TLS": "w1", "in process": "m1"}[name]
			eventually(t, func(ctx context.Context) error { _, err := w.Beat(ctx, bus.Beat{}); return err })
			got, err := w.Session(t.Context(), bus.Session{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(large, got, cmp.Comparer(bytes.Equal)); diff != "" {
				t.Errorf("assignments (-want +got):\n%.500s", diff)
			}
			if _, err := w.Session(t.Context(), bus.Session{Address: "refuse"}); err == nil || !strings.Contains(err.Error(), "not part") {
				t.Errorf("refused session: %v", err)
			}
			if r, err := w.Beat(t.Context(), bus.Beat{Epoch: 7}); err != nil || r != (bus.Reply{Seq: 5, Epoch: 7}) {
				t.Errorf("beat: %+v, %v", r, err)
			}
			if _, err := w.Report(t.Context(), bus.Report{}); err == nil || !strings.Contains(err.Error(), "not stored") {
				t.Errorf("report: %v", err)
			}
			for seq := uint64(2); seq < 5; seq++ {
				inc := bus.Assignments{Seq: seq, Configs: large.Configs[:seq]}
				if err := s.Manager().Push(node, inc); err != nil {
					t.Fatal(err)
				}
				got, err := w.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(inc, got, cmp.Comparer(bytes.Equal)); diff != "" {
					t.Errorf("increment (-want +got):\n%.500s", diff)
				}
			}
		})
	}
}

func TestWithoutALeaderWorkersAreToldAtOnce(t *testing.T) {
	c := bustest.New(t)
	s := c.Start(t)
	if _, err := dial(t, c, s, "w1").Beat(t.Context(), bus.Beat{}); !errors.Is(err, bus.ErrNoManager) {
		t.Errorf("beat: %v, want ErrNoManager", err)
	}
}

func TestWorkerComesBackAfterTheManagerRestarts(t *testing.T) {
	c := bustest.New(t)
	s := c.Start(t)
	w := dial(t, c, s, "w1")
	c.Config.ClientAddr = s.ClientAddr()
	bustest.Stop(t, s)
	s = c.Start(t)
	select {
	case <-w.Reconnected():
	case <-time.After(10 * time.Second):
		t.Fatal("the worker did not come back")
	}
	serve(t, s, bus.Handlers{Beat: func(context.Context, bus.Beat) (bus.Reply, error) { return bus.Reply{}, nil }})
	eventually(t, func(ctx context.Context) error { _, err := w.Beat(ctx, bus.Beat{}); return err })
	if err := s.Manager().Push("w1", bus.Assignments{Seq: 9}); err != nil {
		t.Fatal(err)
	}
	if a, err := w.Next(t.Context()); err != nil || a.Seq != 9 {
		t.Errorf("increment after the restart: %+v, %v", a, err)
	}
}

func TestRevokedNodeIsCutAndRefused(t *testing.T) {
	c := bustest.New(t)
	s := c.Start(t)
	w := dial(t, c, s, "w1")
	s.Revoke([]string{"w1"})
	if _, err := w.Next(withTimeout(t, 300*time.Millisecond)); err == nil {
		t.Error("still receives")
	}
	if w.Connected() {
		t.Error("still connected")
	}
	cfg := bus.WorkerConfig{NodeID: "w1", TLS: c.Node(t, "w1", identity.Worker, bustest.ClusterID).Client(), Addrs: []string{s.ClientAddr()}}
	if w, err := bus.DialWorker(t.Context(), cfg); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("dial: %v, %v", w, err)
	}
	s.Revoke(nil)
	dialWith(t, cfg)
}

func withTimeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestLogs(t *testing.T) {
	c := bustest.New(t)
	s := c.Start(t)
	w := dial(t, c, s, "w1")
	written := make(chan int, 1)
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MB
	serveLogs(t, w, func(ctx context.Context, req bus.LogRequest, out io.Writer) error {
		switch req.TaskID {
		case "gone":
			return errors.New("No such container: gone")
		case "endless":
			n := 0
			for {
				k, err := out.Write(content[:64<<10])
				n += k
				if err != nil {
					written <- n
					return err
				}
			}
		}
		_, err := out.Write(content)
		return err
	})

	all := logs(t, s, "task")
	got, err := io.ReadAll(all)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("read %d bytes of %d: %v", len(got), len(content), err)
	}
	gone := logs(t, s, "gone")
	if _, err := io.ReadAll(gone); err == nil || !strings.Contains(err.Error(), "No such container") {
		t.Errorf("logs of a container that is gone: %v", err)
	}

	// A reader that takes little holds nobody else back, and the worker stops writing.
	stalled := logs(t, s, "endless")
	if _, err := io.ReadFull(stalled, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if got, err = io.ReadAll(logs(t, s, "task")); err != nil || len(got) != len(content) {
		t.Errorf("beside a stalled reader: %d bytes, %v", len(got), err)
	}
	stalled.Close()
	select {
	case n := <-written:
		if n > 4<<20 {
			t.Errorf("the worker sent %d bytes to a reader that took 1000", n)
		}
	case <-time.After(10 * time.Second):
		t.Error("the handler went on after its reader had gone")
	}
}

func serveLogs(t *testing.T, w *bus.WorkerConn, h bus.LogHandler) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.ServeLogs(ctx, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func logs(t *testing.T, s *bus.Server, task string) io.ReadCloser {
	t.Helper()
	r, err := s.Manager().Logs(t.Context(), "w1", bus.LogRequest{TaskID: task})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}
