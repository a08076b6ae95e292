// Package enginetest is what every engine.Engine must do: one suite for dockerd and the simulated engine.
//
// It runs containers of one image, whose entry point understands "sleep" (until SIGTERM), "ignore" (SIGTERM too), "exit N",
// "print TEXT" and "probe ok|bad"; testdata/t has it for dockerd.
package enginetest

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"orch/worker/engine"
)

// Label is on every container that the suite makes; its value is Subject's Prefix.
const Label = "orch.enginetest"

// Subject is an engine under test.
type Subject struct {
	Engine engine.Engine
	Image  string
	// Prefix of the names of everything that the suite makes.
	Prefix string
}

// patience bounds every wait for an event.
const patience = 20 * time.Second

// Run holds an engine to the suite.
func Run(t *testing.T, s Subject) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Subject)
	}{
		{"a container lives from create to remove", testLife},
		{"a process that ends tells its exit code", testExit},
		{"stop kills after the grace period", testGrace},
		{"health is told as it changes", testHealth},
		{"errors can be told apart", testErrors},
		{"lists hold what carries the label", testList},
		{"logs come in frames", testLogs},
		{"commands run inside", testExec},
		{"events end with their context", testEventsEnd},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, s) })
	}
}

// create makes a container that goes when the test does.
func create(t *testing.T, s Subject, name string, configure func(*container.Config), cmd ...string) string {
	t.Helper()
	config := &container.Config{Image: s.Image, Cmd: cmd, Labels: map[string]string{Label: s.Prefix}}
	if configure != nil {
		configure(config)
	}
	id, err := s.Engine.Create(t.Context(), engine.Container{
		Name: s.Prefix + name, Config: config, Host: &container.HostConfig{NetworkMode: "none"},
	})
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Engine.Remove(context.WithoutCancel(t.Context()), id); err != nil {
			t.Errorf("remove: %v", err)
		}
	})
	return id
}

func start(t *testing.T, s Subject, id string) {
	t.Helper()
	if err := s.Engine.Start(t.Context(), id); err != nil {
		t.Fatalf("start: %v", err)
	}
}

func inspect(t *testing.T, s Subject, id string) engine.State {
	t.Helper()
	state, err := s.Engine.Inspect(t.Context(), id)
	if err != nil {
		t.Fatalf("inspect: %v", err)
	}
	return state
}

func events(t *testing.T, s Subject) <-chan engine.Event {
	t.Helper()
	ch, err := s.Engine.Events(t.Context(), Label)
	if err != nil {
		t.Fatalf("events: %v", err)
	}
	return ch
}

// await is the next event of a kind of one container.
func await(t *testing.T, ch <-chan engine.Event, id string, kind engine.EventKind) engine.Event {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case ev, ok := <-ch:
			if !ok {
				t.Fatalf("the events ended before %q", kind)
			}
			if ev.ID == id && ev.Kind == kind {
				return ev
			}
		case <-deadline:
			t.Fatalf("no event %q", kind)
		}
	}
}

func testLife(t *testing.T, s Subject) {
	if err := s.Engine.Alive(t.Context()); err != nil {
		t.Errorf("alive: %v", err)
	}
	ch := events(t, s)
	id := create(t, s, "life", nil, "sleep")
	if st := inspect(t, s, id); st.Status != container.StateCreated || st.Name != s.Prefix+"life" || st.Labels[Label] != s.Prefix || st.Health != "" {
		t.Errorf("created: %+v", st)
	}
	start(t, s, id)
	start(t, s, id) // again is no error
	if ev := await(t, ch, id, engine.Started); ev.Labels[Label] != s.Prefix {
		t.Errorf("started: %+v", ev)
	}
	if st := inspect(t, s, s.Prefix+"life"); !st.Running() || st.PID == 0 || st.ID != id {
		t.Errorf("running: %+v", st)
	}
	if err := s.Engine.Stop(t.Context(), id, nil); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if ev := await(t, ch, id, engine.Died); ev.ExitCode != 0 {
		t.Errorf("died: %+v", ev)
	}
	if st := inspect(t, s, id); !st.Ended() || st.PID != 0 {
		t.Errorf("ended: %+v", st)
	}
	if err := s.Engine.Stop(t.Context(), id, nil); err != nil {
		t.Errorf("stop again: %v", err)
	}
	start(t, s, id)
	if st := inspect(t, s, id); !st.Running() {
		t.Errorf("started again: %+v", st)
	}
	var all sync.WaitGroup
	for range 4 { // one removes it, and the others find it going or gone
		all.Go(func() {
			if err := s.Engine.Remove(t.Context(), id); err != nil {
				t.Errorf("remove: %v", err)
			}
		})
	}
	all.Wait()
	await(t, ch, id, engine.Destroyed)
}

func testExit(t *testing.T, s Subject) {
	ch := events(t, s)
	id := create(t, s, "exit", nil, "exit", "3")
	start(t, s, id)
	if ev := await(t, ch, id, engine.Died); ev.ExitCode != 3 {
		t.Errorf("died: %+v", ev)
	}
	if st := inspect(t, s, id); !st.Ended() || st.ExitCode != 3 {
		t.Errorf("ended: %+v", st)
	}
}

func testGrace(t *testing.T, s Subject) {
	ch := events(t, s)
	id := create(t, s, "grace", nil, "ignore")
	start(t, s, id)
	grace := time.Second
	began := time.Now()
	if err := s.Engine.Stop(t.Context(), id, &grace); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if took := time.Since(began); took < grace {
		t.Errorf("it was killed after %s", took)
	}
	if ev := await(t, ch, id, engine.Died); ev.ExitCode != 137 {
		t.Errorf("died: %+v", ev)
	}
}

func testHealth(t *testing.T, s Subject) {
	for result, kind := range map[string]engine.EventKind{"ok": engine.Healthy, "bad": engine.Unhealthy} {
		ch := events(t, s)
		id := create(t, s, "health-"+result, func(c *container.Config) {
			c.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "/t", "probe", result}, Interval: 100 * time.Millisecond, Retries: 1}
		}, "sleep")
		start(t, s, id)
		if st := inspect(t, s, id); st.Health == "" {
			t.Errorf("%s: no health: %+v", result, st)
		}
		await(t, ch, id, kind)
	}
}

func testErrors(t *testing.T, s Subject) {
	host := &container.HostConfig{NetworkMode: "none"}
	_, err := s.Engine.Create(t.Context(), engine.Container{Name: s.Prefix + "none", Config: &container.Config{Image: "nosuch:latest"}, Host: host})
	if !errors.Is(err, engine.ErrNotFound) || !strings.HasPrefix(err.Error(), "No such image: nosuch:latest") {
		t.Errorf("create without an image: %v", err)
	}
	if _, err := s.Engine.Image(t.Context(), "nosuch:latest"); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("image: %v", err)
	}
	if _, err := s.Engine.Inspect(t.Context(), s.Prefix+"none"); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("inspect: %v", err)
	}
	if err := s.Engine.Start(t.Context(), s.Prefix+"none"); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("start: %v", err)
	}
	create(t, s, "taken", nil, "sleep")
	_, err = s.Engine.Create(t.Context(), engine.Container{Name: s.Prefix + "taken", Config: &container.Config{Image: s.Image}, Host: host})
	if !errors.Is(err, engine.ErrConflict) {
		t.Errorf("create with a name that is taken: %v", err)
	}
}

func testList(t *testing.T, s Subject) {
	id := create(t, s, "list", nil, "sleep")
	create(t, s, "other", func(c *container.Config) { c.Labels = map[string]string{Label: "other"} }, "sleep")
	list, err := s.Engine.List(t.Context(), Label, s.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].ID != id || list[0].Name != s.Prefix+"list" || list[0].Status != container.StateCreated || list[0].Labels[Label] != s.Prefix {
		t.Errorf("list: %+v", list)
	}
}

func testLogs(t *testing.T, s Subject) {
	for _, tty := range []bool{false, true} {
		ch := events(t, s)
		id := create(t, s, "logs", func(c *container.Config) { c.Tty = tty }, "print", "hello")
		start(t, s, id)
		await(t, ch, id, engine.Died)
		r, err := s.Engine.Logs(t.Context(), id, container.LogsOptions{ShowStdout: true, ShowStderr: true})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		want := "\x01\x00\x00\x00\x00\x00\x00\x06hello\n"
		if text := strings.ReplaceAll(string(got), "\r", ""); tty && text != "hello\n" || !tty && text != want {
			t.Errorf("tty %v: %q", tty, got)
		}
		if err := s.Engine.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
}

func testExec(t *testing.T, s Subject) {
	id := create(t, s, "exec", nil, "sleep")
	start(t, s, id)
	if got, err := s.Engine.Exec(t.Context(), id, container.ExecOptions{Cmd: []string{"/t", "exit", "4"}}); err != nil || got.ExitCode != 4 {
		t.Errorf("exit 4: %+v, %v", got, err)
	}
	if got, err := s.Engine.Exec(t.Context(), id, container.ExecOptions{Cmd: []string{"/t", "print", "x"}}); err != nil || got.Output != "x\n" {
		t.Errorf("print x: %+v, %v", got, err)
	}
}

func testEventsEnd(t *testing.T, s Subject) {
	ctx, cancel := context.WithCancel(t.Context())
	ch, err := s.Engine.Events(ctx, Label)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	deadline := time.After(patience)
	for {
		select {
		case _, ok := <-ch:
			if !ok {
				return
			}
		case <-deadline:
			t.Fatal("the events go on")
		}
	}
}
