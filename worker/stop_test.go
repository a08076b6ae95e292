package worker

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/internal/extra"
	"orch/worker/engine/sim"
)

// A task takes up what has reached it, then runs its hooks, then gets its stop signal.
func TestStopOrder(t *testing.T) {
	task := taskOf("a", "sleep")
	task.Spec.ContainerSpec.Labels = map[string]string{}
	hooks := extra.Extra{PreStop: []extra.Hook{{Command: []string{"/t", "print", "bye"}}}, PostStart: []extra.Hook{{Command: []string{"/t", "print", "hello"}}}}
	if err := extra.ToLabels(task.Spec.ContainerSpec.Labels, hooks); err != nil {
		t.Fatal(err)
	}
	inWorld(t, sim.Config{}, []bus.Task{task}, func(w *world) {
		settle()
		w.expect("a", "running started")
		var order []string
		note := func(what string) {
			if w.containers()[task.Name].Running() {
				what += " while it runs"
			}
			order = append(order, what)
		}
		if n := w.engine.Calls(sim.OpExec); n != 1 {
			t.Errorf("%d hooks ran at the start", n)
		}
		w.network.mu.Lock()
		w.network.onDrain = func() {
			if w.engine.Calls(sim.OpExec) != 1 || w.engine.Calls(sim.OpStop) != 0 {
				note("too late:")
			}
			note("drain")
		}
		w.network.mu.Unlock()
		w.managers.push(bus.Assignments{Tasks: []bus.Task{desired(task, swarm.TaskStateShutdown)}}, false)
		settle()
		synctest.Wait()
		if w.engine.Calls(sim.OpExec) != 2 || w.engine.Calls(sim.OpStop) != 1 || !slices.Equal(order, []string{"drain while it runs"}) {
			t.Errorf("%d hooks and %d stops; %v", w.engine.Calls(sim.OpExec), w.engine.Calls(sim.OpStop), order)
		}
		w.expect("a", "shutdown shutdown")
		// A new leader may still believe that it is to run.
		w.managers.push(bus.Assignments{Tasks: []bus.Task{task}}, false)
		settle()
		w.expect("a", "shutdown shutdown")
	})
}
