package worker

import (
	"context"
	"strings"
	"testing"
	"time"

	"orch/internal/bus"
	"orch/worker/engine/sim"
)

func TestWhichStatesMayEndTasks(t *testing.T) {
	of := func(epoch uint64, histories ...string) bus.Assignments {
		return bus.Assignments{Full: true, Epoch: epoch, Histories: histories}
	}
	accepted := of(1, "x")
	accepted.Accepted = true
	for _, c := range []struct {
		name  string
		past  past
		set   bus.Assignments
		here  tally
		doubt string
	}{
		{"the same state, later", past{"a", 5}, of(6, "a"), tally{0, 3}, ""},
		{"the same state, the same leader", past{"a", 5}, of(5, "a"), tally{0, 3}, ""},
		{"the same state went back", past{"a", 5}, of(4, "a"), tally{3, 1}, "gone back from leadership 5 to 4"},
		{"went back, and names everything", past{"a", 5}, of(4, "a"), tally{3, 0}, ""},
		{"restored, names some", past{"a", 5}, of(9, "a", "b"), tally{1, 2}, ""},
		{"restored, empty", past{"a", 5}, of(9, "a", "b"), tally{0, 2}, "was restored and knows nothing"},
		{"founded again under the same name", past{"a", 5}, of(9, "x"), tally{1, 2}, "is not the one that this node's tasks are of"},
		{"accepted", past{"a", 5}, accepted, tally{0, 2}, ""},
		{"a worker from before there were lives", past{"", 5}, of(1, "a"), tally{0, 2}, ""},
		{"managers from before there were lives", past{"a", 5}, of(1), tally{0, 2}, ""},
	} {
		if got := c.past.doubt(c.set, c.here); c.doubt == "" && got != "" || !strings.Contains(got, c.doubt) {
			t.Errorf("%s: %q, want %q", c.name, got, c.doubt)
		}
	}
}

// A set that comes back empty from another state ends nothing, not after a restart of the worker either, until
// somebody accepts it.
func TestAnEmptySetOfAnotherStateEndsNothing(t *testing.T) {
	inWorld(t, sim.Config{}, many(3, "sleep"), func(w *world) {
		settle()
		became := func(change func(*bus.Assignments)) {
			w.managers.set(func() { change(&w.managers.full) })
			signal(w.managers.reconnected)
			settle()
		}
		became(func(a *bus.Assignments) { a.Histories = []string{"a"} })
		became(func(a *bus.Assignments) { a.Histories, a.Epoch, a.Tasks = []string{"x"}, 9, nil })
		if n := len(w.containers()); n != 3 {
			t.Fatalf("%d containers after an empty set of another state", n)
		}
		if s, err := w.agent.describe(context.Background()); err != nil || len(s.Conditions) == 0 || !strings.Contains(s.Conditions[0], "3 tasks that it does not name run on") {
			t.Errorf("the node says %q, %v", s.Conditions, err)
		}
		w.stop()
		w.run()
		settle()
		if n := len(w.containers()); n != 3 {
			t.Fatalf("%d containers after a restart", n)
		}
		became(func(a *bus.Assignments) { a.Accepted = true })
		time.Sleep(30 * time.Second)
		if n := len(w.containers()); n != 0 {
			t.Errorf("%d containers after the set was accepted", n)
		}
	})
}
