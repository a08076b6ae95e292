package worker

import (
	"context"
	"fmt"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
)

// past is which state of the managers the node's tasks were assigned by: the life of the stream, and how far it had
// come. A set from a state that is not its successor, lost, restored too far back or founded again, is no order to
// end what runs here.
type past struct {
	history string
	epoch   uint64
}

// take moves on to the state that a full set comes from.
func (p *past) take(m bus.Assignments) {
	p.epoch = m.Epoch
	if len(m.Histories) > 0 {
		p.history = m.Histories[len(m.Histories)-1]
	}
}

// histories is history as it is saved.
func (p *past) histories() []string {
	if p.history == "" {
		return nil
	}
	return []string{p.history}
}

// tally is what a full set means for the tasks that run here.
type tally struct{ named, unnamed int }

// doubt says why a full set is not to end tasks, "" if it may.
func (p *past) doubt(m bus.Assignments, t tally) string {
	if t.unnamed == 0 || m.Accepted {
		return ""
	}
	present := ""
	if len(m.Histories) > 0 {
		present = m.Histories[len(m.Histories)-1]
	}
	switch {
	case p.history == "" || present == "":
		return "" // one of the two does not know of lives
	case p.history == present && m.Epoch >= p.epoch:
		return ""
	case p.history == present:
		return fmt.Sprintf("the managers' state has gone back from leadership %d to %d", p.epoch, m.Epoch)
	case !slices.Contains(m.Histories, p.history):
		return "the managers' state is not the one that this node's tasks are of"
	case t.named == 0:
		return "the managers' state was restored and knows nothing of this node's tasks"
	}
	return "" // restored, and it knows this node
}

// tally counts the tasks that run, and containers of which no task is known.
func (a *Agent) tally(named map[string]bool) (t tally) {
	for id, task := range a.tasks {
		switch {
		case task.dropped || rank(task.Status.State) > rank(swarm.TaskStateRunning):
		case named[id]:
			t.named++
		default:
			t.unnamed++
		}
	}
	for id := range a.found {
		if named[id] {
			t.named++
		} else {
			t.unnamed++
		}
	}
	return t
}

// trusts says whether a full set may end what it does not name. One that may not is taken as an increment, so that
// networks and names of what runs on stay, too.
func (a *Agent) trusts(m bus.Assignments, named map[string]bool) bool {
	t := a.tally(named)
	why := a.past.doubt(m, t)
	before := a.doubts
	if a.doubts = ""; why != "" {
		a.doubts = fmt.Sprintf("%s: %d tasks that it does not name run on; `orch node accept` ends them", why, t.unnamed)
	}
	if a.doubts != before {
		if why != "" {
			a.Log.Error("an order to end tasks is not followed", "reason", why, "tasks", t.unnamed)
		}
		a.link.redescribe()
	}
	if why == "" {
		a.past.take(m)
	}
	return why == ""
}

// doubtful is the doubt as a condition of the node; it is asked for on another goroutine than the agent's.
func (a *Agent) doubtful(ctx context.Context) (conditions []string) {
	_ = a.call(ctx, func() {
		if a.doubts != "" {
			conditions = []string{a.doubts}
		}
	})
	return conditions
}
