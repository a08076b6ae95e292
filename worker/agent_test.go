package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/worker/engine/sim"
)

// brief is simulated time in which everything settles that waits for nothing.
const brief = 10 * time.Second

func settle() { time.Sleep(brief) }

func desired(t bus.Task, s swarm.TaskState) bus.Task {
	t.DesiredState = s
	return t
}

func healthcheck(t bus.Task, result string) bus.Task {
	t.Spec.ContainerSpec.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "/t", "probe", result}, Interval: time.Second, Retries: 2}
	return t
}

func TestTaskEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		task bus.Task
		want string
	}{
		{"a process runs", taskOf("a", "sleep"), "running started"},
		{"a process ends well", taskOf("a", "exit", "0"), "complete finished"},
		{"a process fails", taskOf("a", "exit", "3"), "failed started: task: non-zero exit (3)"},
		{"ready is not started", desired(taskOf("a", "sleep"), swarm.TaskStateReady), "ready prepared"},
		{"not wanted before it began", desired(taskOf("a", "sleep"), swarm.TaskStateShutdown), "shutdown shutdown"},
		{"healthy", healthcheck(taskOf("a", "sleep"), "ok"), "running started"},
		{"never healthy", healthcheck(taskOf("a", "ignore"), "bad"), "failed starting: task: non-zero exit (137): dockerexec: unhealthy container"},
		{"no such image", func() bus.Task {
			t := taskOf("a")
			t.Spec.ContainerSpec.Image = "nosuch"
			return t
		}(), "rejected preparing: No such image: nosuch:latest (dial tcp: lookup registry-1.docker.io: no such host)"},
		{"a bad template", func() bus.Task {
			t := taskOf("a")
			t.Spec.ContainerSpec.Hostname = "{{.Foo}}"
			return t
		}(), `rejected preparing: expanding hostname failed: template: expansion:1:2: executing "expansion" at <.Foo>: can't evaluate field Foo in type *template.Context`},
	} {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, sim.Config{}, []bus.Task{c.task}, func(w *world) {
				time.Sleep(30 * time.Second)
				w.expect("a", c.want)
			})
		})
	}
}

func TestStatusCarriesTheContainer(t *testing.T) {
	inWorld(t, sim.Config{}, []bus.Task{taskOf("a", "sleep")}, func(w *world) {
		settle()
		c := w.containers()["web.1.a"]
		got := w.managers.container("a")
		if got.ContainerID != c.ID || got.PID != c.PID || c.PID == 0 {
			t.Errorf("status %+v, container %+v", got, c)
		}
		w.engine.Die("web.1.a", 9)
		synctest.Wait() // no time goes by: the event is enough
		w.expect("a", "failed started: task: non-zero exit (9)")
		if got := w.managers.container("a"); got.ExitCode != 9 || got.PID != 0 {
			t.Errorf("status %+v", got)
		}
		if _, ok := w.containers()["web.1.a"]; !ok {
			t.Error("the container of a task that is still assigned is gone")
		}
	})
}

func TestReadyThenRunningThenShutdownThenRemoved(t *testing.T) {
	a := taskOf("a", "sleep")
	inWorld(t, sim.Config{}, []bus.Task{desired(a, swarm.TaskStateReady)}, func(w *world) {
		settle()
		w.managers.push(bus.Assignments{Tasks: []bus.Task{a}}, false)
		settle()
		w.expect("a", "running started")
		w.managers.push(bus.Assignments{Tasks: []bus.Task{desired(a, swarm.TaskStateShutdown)}}, false)
		settle()
		w.expect("a", "shutdown shutdown")
		if len(w.containers()) != 1 {
			t.Error("the container went before its task")
		}
		w.managers.push(bus.Assignments{Removed: []bus.Resource{{Kind: bus.KindTask, ID: "a"}}}, false)
		settle()
		w.expect("a", "gone")
		if len(w.containers()) != 0 {
			t.Error("the container is left")
		}
	})
}

func TestUnhealthyLaterFails(t *testing.T) {
	inWorld(t, sim.Config{}, []bus.Task{healthcheck(taskOf("a", "sleep"), "ok")}, func(w *world) {
		settle()
		w.expect("a", "running started")
		w.engine.Turn("web.1.a", container.Unhealthy)
		settle()
		w.expect("a", "failed started: dockerexec: unhealthy container") // it ended itself with 0
	})
}

func TestLostIncrementIsNoticed(t *testing.T) {
	inWorld(t, sim.Config{}, []bus.Task{taskOf("a", "sleep")}, func(w *world) {
		settle()
		w.managers.push(bus.Assignments{Tasks: []bus.Task{taskOf("b", "sleep")}}, true)
		w.managers.push(bus.Assignments{Tasks: []bus.Task{taskOf("c", "sleep")}}, false)
		settle()
		w.expect("b", "running started")
		w.managers.push(bus.Assignments{Tasks: []bus.Task{taskOf("d", "sleep")}}, true) // the last: only a beat can tell
		settle()
		w.expect("d", "running started")
	})
}

func TestWithoutManagersTasksGoOn(t *testing.T) {
	inWorld(t, sim.Config{}, []bus.Task{taskOf("a", "sleep"), taskOf("b", "sleep")}, func(w *world) {
		settle()
		w.managers.set(func() { w.managers.refuse = errors.New("no manager answers") })
		before := w.containers()["web.1.a"].ID
		w.stop()
		w.engine.Die("web.1.b", 4)
		w.run()
		settle()
		if got := w.containers()["web.1.a"]; got.ID != before || !got.Running() {
			t.Errorf("a: %+v", got)
		}
		w.managers.set(func() { w.managers.refuse = nil })
		settle()
		w.expect("b", "failed started: task: non-zero exit (4)")
		if n := w.engine.Calls(sim.OpCreate); n != 2 {
			t.Errorf("%d containers were created", n)
		}
	})
}

func TestRestartAdoptsAndDoublesNothing(t *testing.T) {
	inWorld(t, sim.Config{}, many(20, "sleep"), func(w *world) {
		settle()
		before := w.containers()
		for range 3 {
			w.stop()
			w.run()
			settle()
		}
		after := w.containers()
		for name, c := range before {
			if after[name].ID != c.ID || !after[name].Running() {
				t.Errorf("%s: %+v became %+v", name, c, after[name])
			}
		}
		if n := w.engine.Calls(sim.OpStart); n != 20 {
			t.Errorf("%d starts", n)
		}
	})
}

func TestOnlyOwnContainersAreRemoved(t *testing.T) {
	inWorld(t, sim.Config{}, many(2, "sleep"), func(w *world) {
		settle()
		w.stop()
		w.managers.push(bus.Assignments{Removed: []bus.Resource{{Kind: bus.KindTask, ID: "t0"}}}, true)
		w.managers.set(func() { w.managers.full.Cluster = "other" })
		w.run()
		settle()
		if len(w.containers()) != 2 {
			t.Fatal("another cluster's word removed a container")
		}
		w.stop()
		w.managers.set(func() { w.managers.full.Cluster = "c" })
		w.run()
		settle()
		if c := w.containers(); len(c) != 1 || !c["web.1.t1"].Running() {
			t.Errorf("left: %+v", c)
		}
	})
}

func TestEngineRestartStartsInPlace(t *testing.T) {
	inWorld(t, sim.Config{}, []bus.Task{taskOf("a", "sleep"), desired(taskOf("b", "sleep"), swarm.TaskStateReady)}, func(w *world) {
		settle()
		id := w.containers()["web.1.a"].ID
		w.engine.Down()
		settle()
		w.engine.Up()
		settle()
		if c := w.containers()["web.1.a"]; c.ID != id || !c.Running() {
			t.Errorf("a: %+v", c)
		}
		w.expect("a", "running started")
		w.expect("b", "ready prepared")
		w.engine.Die("web.1.a", 5) // from here on an end is its own again
		w.expect("a", "failed started: task: non-zero exit (5)")
	})
}

func TestEngineThatShutsDownFailsNoTask(t *testing.T) {
	inWorld(t, sim.Config{}, []bus.Task{taskOf("a", "sleep")}, func(w *world) {
		settle()
		w.engine.ShutDown()
		settle()
		w.expect("a", "running started")
		w.engine.Up()
		settle()
		if c := w.containers()["web.1.a"]; !c.Running() {
			t.Errorf("a: %+v", c)
		}
		w.expect("a", "running started")
	})
}

func TestEventStreamLossLosesNothing(t *testing.T) {
	inWorld(t, sim.Config{}, many(3, "sleep"), func(w *world) {
		settle()
		w.engine.Lose()
		settle()
		w.engine.Die("web.1.t1", 7)
		w.expect("t1", "failed started: task: non-zero exit (7)")
		w.expect("t2", "running started")
	})
}

func TestContainerTakenAwayFails(t *testing.T) {
	inWorld(t, sim.Config{}, []bus.Task{healthcheck(taskOf("a", "sleep"), "ok")}, func(w *world) {
		settle()
		id := w.containers()["web.1.a"].ID
		if err := w.engine.Remove(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		w.expect("a", "failed started: task: non-zero exit (137)")
	})
}

func TestRotationIsConfirmedOnceInForce(t *testing.T) {
	inWorld(t, sim.Config{}, nil, func(w *world) {
		settle()
		w.network.mu.Lock()
		w.network.fail = errors.New("no")
		w.network.mu.Unlock()
		w.managers.push(bus.Assignments{Services: []bus.Service{{ID: "s"}}}, false)
		settle()
		if sent, confirmed := w.managers.position(); confirmed >= sent {
			t.Errorf("%d was confirmed and is not in force", sent)
		}
		w.network.mu.Lock()
		w.network.fail = nil
		w.network.mu.Unlock()
		settle()
		if sent, confirmed := w.managers.position(); confirmed != sent {
			t.Errorf("confirmed %d, want %d", confirmed, sent)
		}
	})
}

func TestStopIsTriedAgain(t *testing.T) {
	a := taskOf("a", "sleep")
	inWorld(t, sim.Config{}, []bus.Task{a}, func(w *world) {
		settle()
		w.engine.FailNext(sim.OpStop, errors.New("device busy"))
		w.engine.FailNext(sim.OpRemove, errors.New("device busy"))
		w.managers.push(bus.Assignments{Removed: []bus.Resource{{Kind: bus.KindTask, ID: "a"}}}, false)
		settle()
		w.expect("a", "gone")
		if len(w.containers()) != 0 {
			t.Error("the container is left")
		}
	})
}
