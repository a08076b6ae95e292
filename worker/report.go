package worker

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
)

const (
	// reportAgain is the pause before statuses are sent again that the managers did not take.
	reportAgain = 200 * time.Millisecond
	// reportSoon is how long a status on the way to running waits for others: each report is a synced write, on a disk
	// that the engine is busy with at that very time.
	reportSoon = 100 * time.Millisecond
	// reportBusy is the same while more tasks are to be started than can be at a time: a hundred of them would otherwise
	// cost a hundred writes, each at the expense of the next start.
	reportBusy = 500 * time.Millisecond
)

// outbox holds the statuses that the managers do not have yet, the last of each task. One report is
// under way at a time; what comes in meanwhile goes with the next.
type outbox struct {
	statuses map[string]bus.TaskStatus
	busy     bool
	waiting  bool // for others, until reportLater's time is over
}

// patience is how long the statuses in the outbox can wait for others; none does once a task has ended or is gone.
func (a *Agent) patience() time.Duration {
	backlog := len(a.starts)+len(a.creates) > 0
	patience := reportBusy
	for id, s := range a.outbox.statuses {
		switch s.Status.State {
		case swarm.TaskStateAccepted, swarm.TaskStatePreparing, swarm.TaskStateReady, swarm.TaskStateStarting, swarm.TaskStateRunning:
			switch t := a.tasks[id]; {
			case backlog:
			case t != nil && s.Status.State == t.DesiredState:
				return 0 // somebody waits for just this: for it to run, or to be next in an update
			default:
				patience = min(patience, reportSoon)
			}
		default:
			return 0
		}
	}
	return patience
}

func (o *outbox) add(t bus.Task) {
	o.statuses[t.ID] = bus.TaskStatus{TaskID: t.ID, Status: t.Status}
}

func (o *outbox) gone(t bus.Task) {
	o.statuses[t.ID] = bus.TaskStatus{TaskID: t.ID, Status: t.Status, Gone: true}
}

// report sends what is in the outbox. Nothing is sent before the first session: its answer may know better.
func (a *Agent) report() {
	if a.outbox.busy || len(a.outbox.statuses) == 0 || !a.confirmed {
		return
	}
	if patience := a.patience(); patience > 0 {
		a.reportLater(patience)
		return
	}
	a.send()
}

// reportLater sends what is in the outbox when it has waited for long enough.
func (a *Agent) reportLater(patience time.Duration) {
	if a.outbox.waiting {
		return
	}
	a.outbox.waiting = true
	a.later(patience, func() {
		a.outbox.waiting = false
		if !a.outbox.busy && len(a.outbox.statuses) > 0 {
			a.send()
		}
	})
}

func (a *Agent) send() {
	sent := a.outbox.statuses
	a.outbox.statuses, a.outbox.busy = map[string]bus.TaskStatus{}, true
	r := bus.Report{Node: a.NodeID, Statuses: sortedValues(sent)}
	p := a.link.applied.Load()
	r.Epoch, r.Applied = p.epoch, p.seq
	a.steps.Go(func() error {
		ctx, cancel := context.WithTimeout(a.life, askLimit)
		defer cancel()
		_, err := a.Managers.Report(ctx, r)
		if err == nil {
			a.post(a.life, func() { a.outbox.busy = false })
			return nil
		}
		a.Log.Debug("the managers did not take a report", "err", err)
		a.later(reportAgain, func() { a.returned(sent) })
		return nil
	})
}

// returned puts back what was not taken, unless there is newer.
func (a *Agent) returned(sent map[string]bus.TaskStatus) {
	a.outbox.busy = false
	for id, s := range sent {
		if _, newer := a.outbox.statuses[id]; !newer {
			a.outbox.statuses[id] = s
		}
	}
}
