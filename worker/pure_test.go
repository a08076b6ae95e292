package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
	"github.com/google/go-cmp/cmp"

	"orch/internal/bus"
	"orch/internal/extra"
	"orch/worker/engine"
	"orch/worker/engine/sim"
)

func TestNext(t *testing.T) {
	at := func(state, desired swarm.TaskState, change func(*task)) *task {
		x := newTask(taskOf("a"))
		x.Status.State, x.DesiredState, x.greeted = state, desired, state == swarm.TaskStateRunning
		if change != nil {
			change(x)
		}
		return x
	}
	const running, ready, shutdown = swarm.TaskStateRunning, swarm.TaskStateReady, swarm.TaskStateShutdown
	has := func(x *task) { x.container = "id" }
	runs := func(x *task) { x.container, x.running = "id", true }
	for _, c := range []struct {
		name string
		task *task
		want step
	}{
		{"new", at(swarm.TaskStateAccepted, running, nil), prepare},
		{"prepared", at(swarm.TaskStatePreparing, running, func(x *task) { x.prepared = &prepared{} }), create},
		{"created", at(ready, running, has), start},
		{"created, to wait", at(ready, ready, has), none},
		{"a job", at(ready, swarm.TaskStateComplete, has), start},
		{"running, with hooks to run", at(swarm.TaskStateStarting, running, runs), greet},
		{"running", at(running, running, runs), none},
		{"running, to stop", at(running, shutdown, runs), stop},
		{"running, unhealthy", at(running, running, func(x *task) { runs(x); x.unhealthy = true }), stop},
		{"running, though it had ended", at(swarm.TaskStateFailed, running, runs), stop},
		{"ended, kept", at(swarm.TaskStateFailed, shutdown, has), none},
		{"down with the engine", at(running, running, has), start},
		{"unsure", at(running, shutdown, func(x *task) { runs(x); x.unsure = true }), look},
		{"dropped while it runs", at(running, running, func(x *task) { runs(x); x.dropped = true }), stop},
		{"dropped", at(running, running, func(x *task) { has(x); x.dropped = true }), remove},
		{"dropped, nothing left", at(running, running, func(x *task) { x.dropped = true }), forget},
		{"busy", at(running, shutdown, func(x *task) { runs(x); x.step = start }), none},
		{"held", at(running, shutdown, func(x *task) { runs(x); x.held = true }), none},
	} {
		if got := next(c.task); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestPullRule(t *testing.T) {
	now := time.Now()
	built, pulled := engine.Image{Tagged: now.Add(-time.Hour)}, engine.Image{Pulled: true, Tagged: now.Add(-time.Hour)}
	const pin = "nginx@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for _, c := range []struct {
		name  string
		want  want
		local engine.Image
		there bool
		how   how
	}{
		{"Swarm's: not here", want{ref: "nginx"}, engine.Image{}, false, how{pull: true}},
		{"Swarm's: here from a registry", want{ref: "nginx"}, pulled, true, how{pull: true, optional: true}},
		{"Swarm's: built here", want{ref: "nginx"}, built, true, how{optional: true}},
		{"Swarm's: pinned", want{ref: pin}, pulled, true, how{optional: true}},
		{"Swarm's: an ID", want{ref: pin[6:]}, pulled, true, how{optional: true}},
		{"always", want{ref: "nginx", policy: "always"}, built, true, how{pull: true}},
		{"never", want{ref: "nginx", policy: "never"}, engine.Image{}, false, how{}},
		{"missing, and is", want{ref: "nginx", policy: "missing"}, engine.Image{}, false, how{pull: true}},
		{"missing, and is not", want{ref: "nginx", policy: "missing"}, pulled, true, how{}},
		{"refresh, young", want{ref: "nginx", policy: "refresh", after: 2 * time.Hour}, pulled, true, how{optional: true}},
		{"refresh, old", want{ref: "nginx", policy: "refresh", after: time.Minute}, pulled, true, how{pull: true, optional: true}},
	} {
		if got := decide(c.want, c.local, c.there, now); got != c.how {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.how)
		}
	}
}

// TestSilentRegistryCostsLittle: a registry that swallows everything delays the first start by its patience, and no other.
func TestSilentRegistryCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := false
		e := sim.New(sim.Config{PullTime: time.Minute, Pull: func(string) error {
			if broken {
				return errors.New("dial tcp: i/o timeout")
			}
			return nil
		}})
		i := newImages(e, noPeers{}, slog.New(slog.DiscardHandler))
		if err := i.ensure(t.Context(), want{ref: "r.example/app:1"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		broken = true
		for _, most := range []time.Duration{pullPatience, 0, 0} {
			began := time.Now()
			if err := i.ensure(t.Context(), want{ref: "r.example/app:1"}); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > most {
				t.Errorf("took %s", took)
			}
		}
		time.Sleep(time.Hour) // the pull that nobody waits for ends
	})
}

// TestAnEarlierBuildIsRunByItsID: a rollback of a rebuilt tag runs the image of before, where it is still there.
func TestAnEarlierBuildIsRunByItsID(t *testing.T) {
	e := sim.New(sim.Config{Pull: func(string) error { return nil }})
	i := newImages(e, noPeers{}, slog.New(slog.DiscardHandler))
	const earlier = "r.example/earlier:1" // the engine takes an ID for a name
	for _, ref := range []string{"r.example/app:1", earlier} {
		if err := e.Pull(t.Context(), ref, ""); err != nil {
			t.Fatal(err)
		}
	}
	now, err := e.Image(t.Context(), "r.example/app:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ built, policy, want string }{
		{"", "", "r.example/app:1"}, {now.ID, "", "r.example/app:1"}, {earlier, "", earlier}, {"sha256:gone", "", "r.example/app:1"}, {earlier, pullAlways, "r.example/app:1"},
	} {
		if got, err := i.choose(t.Context(), "task", c.built, want{ref: "r.example/app:1", policy: c.policy}); got != c.want || err != nil {
			t.Errorf("built %q, policy %q: runs %q, want %q (%v)", c.built, c.policy, got, c.want, err)
		}
	}
}

// slowToNotice is an engine that takes a process for running until some time.
type slowToNotice struct {
	engine.Engine
	until time.Time
}

func (e slowToNotice) Inspect(context.Context, string) (engine.State, error) {
	if time.Now().Before(e.until) {
		return engine.State{ID: "c", Status: container.StateRunning, PID: 7}, nil
	}
	return engine.State{ID: "c", Status: container.StateExited}, nil
}

// TestEndedBeforeItJoinedItsNetworks: a process that is gone before it could be brought into its networks has ended, even if
// its engine is late to notice; one that is there and cannot be brought in has failed, at once.
func TestEndedBeforeItJoinedItsNetworks(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails error
		after time.Duration
		ends  bool
	}{
		{"gone, noticed late", fmt.Errorf("open: %w", fs.ErrNotExist), time.Second, true},
		{"gone, never noticed", fmt.Errorf("open: %w", fs.ErrNotExist), time.Hour, false},
		{"there", errors.New("no such network"), time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &Agent{Config: Config{Engine: slowToNotice{until: time.Now().Add(c.after)}, Network: &silent{attach: c.fails}}}
				s, err := a.inspect(t.Context(), "t", "c", []string{"n"})
				if (err == nil) != c.ends || err == nil && !s.Ended() || err != nil && !errors.Is(err, c.fails) {
					t.Errorf("state %+v, err %v", s, err)
				}
			})
		})
	}
}

func TestHooksAndSecretsInTheirOrder(t *testing.T) {
	hooked := taskOf("a", "sleep")
	hooked.Spec.ContainerSpec.Labels = map[string]string{}
	e := extra.Extra{PostStart: []extra.Hook{{Command: []string{"warm"}}}, PreStop: []extra.Hook{{Command: []string{"drain"}}}}
	if err := extra.ToLabels(hooked.Spec.ContainerSpec.Labels, e); err != nil {
		t.Fatal(err)
	}
	waits := taskOf("b", "sleep")
	waits.Spec.ContainerSpec.Configs = []*swarm.ConfigReference{{ConfigID: "c1", ConfigName: "c"}}
	inWorld(t, sim.Config{}, []bus.Task{hooked, waits}, func(w *world) {
		settle()
		w.expect("a", "running started")
		if n := w.engine.Calls(sim.OpExec); n != 1 {
			t.Errorf("%d hooks before the stop", n)
		}
		w.expect("b", "accepted accepted")
		w.managers.push(bus.Assignments{Configs: []bus.Config{{ID: "c1"}}, Tasks: []bus.Task{desired(hooked, swarm.TaskStateShutdown)}}, false)
		settle()
		w.expect("a", "shutdown shutdown")
		if n := w.engine.Calls(sim.OpExec); n != 2 {
			t.Errorf("%d hooks after the stop", n)
		}
		w.expect("b", "running started")
	})
}

func TestLackingIsNotForEver(t *testing.T) {
	waits := taskOf("b", "sleep")
	waits.NetworksAttachments = []swarm.NetworkAttachment{{Network: swarm.Network{ID: "n1"}}}
	inWorld(t, sim.Config{}, []bus.Task{waits}, func(w *world) {
		time.Sleep(time.Minute)
		w.expect("b", "rejected accepted: node is missing network attachments, ip addresses may be exhausted")
	})
}

func TestSavedHoldsNoCredentials(t *testing.T) {
	a := taskOf("a", "sleep")
	a.PullAuth = "c2VjcmV0"
	inWorld(t, sim.Config{}, []bus.Task{a}, func(w *world) {
		w.managers.push(bus.Assignments{Secrets: []bus.Secret{{ID: "s", Name: "s", Data: []byte("hush")}}}, false)
		settle()
		data, err := os.ReadFile(filepath.Join(w.dir, savedName))
		if err != nil || !strings.Contains(string(data), `"web.1.a"`) {
			t.Fatalf("%v: %s", err, data)
		}
		for _, never := range []string{"c2VjcmV0", "hush", "aHVzaA"} {
			if strings.Contains(string(data), never) {
				t.Errorf("%q is on disk", never)
			}
		}
		w.stop()
		if err := os.WriteFile(filepath.Join(w.dir, savedName), data[:len(data)/2], 0o600); err != nil { // torn by power loss
			t.Fatal(err)
		}
		w.run()
		settle()
		w.expect("a", "running started")
		if n := w.engine.Calls(sim.OpCreate); n != 1 {
			t.Errorf("%d containers were created", n)
		}
	})
}

func TestDetail(t *testing.T) {
	add := []string{"com.docker.swarm.node.id=n", "com.docker.swarm.task.id=t"}
	for _, c := range []struct {
		in         string
		timestamps bool
		want       string
	}{
		{" hello world\n", false, "com.docker.swarm.node.id=n,com.docker.swarm.task.id=t hello world\n"},
		{"a=b,z=y hello\n", false, "a=b,com.docker.swarm.node.id=n,com.docker.swarm.task.id=t,z=y hello\n"},
		{"2026-01-01T00:00:00Z  hello\n", true, "2026-01-01T00:00:00Z com.docker.swarm.node.id=n,com.docker.swarm.task.id=t hello\n"},
	} {
		if d := cmp.Diff(c.want, string(detail([]byte(c.in), c.timestamps, add))); d != "" {
			t.Errorf("%q (-want +got):\n%s", c.in, d)
		}
	}
}

func FuzzDetailFrames(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x07 hello\n"))
	f.Add([]byte("\x01\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		if err := detailFrames(&out, bytes.NewReader(in), false, []string{"k=v"}); err == nil && len(in) > 0 && out.Len() < len(in) {
			t.Errorf("%q became %q", in, out.Bytes())
		}
	})
}

func TestLogsWaitForTheContainer(t *testing.T) {
	a := desired(taskOf("a", "print", "hello"), swarm.TaskStateRunning)
	a.Spec.ContainerSpec.Configs = []*swarm.ConfigReference{{ConfigID: "c1", ConfigName: "c"}}
	inWorld(t, sim.Config{}, []bus.Task{a}, func(w *world) {
		settle()
		var out bytes.Buffer
		done := make(chan error, 1)
		go func() {
			done <- w.agent.Logs(context.Background(), bus.LogRequest{TaskID: "a", Stdout: true, Follow: true}, &out)
		}()
		settle()
		w.managers.push(bus.Assignments{Configs: []bus.Config{{ID: "c1"}}}, false)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := w.agent.Logs(context.Background(), bus.LogRequest{TaskID: "nosuch", Stdout: true}, &out); err == nil {
			t.Error("the log of no task was found")
		}
	})
}

func TestDescription(t *testing.T) {
	got := description(system.Info{
		Name: "vm", OSType: "linux", Architecture: "x86_64", NCPU: 2, MemTotal: 1 << 30, ServerVersion: "20.10.24", Labels: []string{"a=b", "odd"},
		Plugins: system.PluginsInfo{Volume: []string{"local"}, Network: []string{"overlay", "bridge"}},
	})
	want := swarm.NodeDescription{
		Hostname: "vm", Platform: swarm.Platform{OS: "linux", Architecture: "x86_64"}, Resources: swarm.Resources{NanoCPUs: 2e9, MemoryBytes: 1 << 30},
		Engine: swarm.EngineDescription{EngineVersion: "20.10.24", Labels: map[string]string{"a": "b"}, Plugins: []swarm.PluginDescription{
			{Type: "Network", Name: "bridge"}, {Type: "Network", Name: "overlay"}, {Type: "Volume", Name: "local"},
		}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
