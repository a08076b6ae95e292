package compose

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
)

const (
	// DefaultTimeout is how long a deploy or a removal waits when nothing else is said.
	DefaultTimeout = 5 * time.Minute
	// pollFast is the wait between two looks when no event wakes the waiter: tasks have no events in Docker's API, so a
	// change may be seen this late.
	pollFast = 50 * time.Millisecond
	// pollSlow takes over after pollFastFor, when people no longer notice the difference but a server with many waiting
	// clients does.
	pollSlow    = 250 * time.Millisecond
	pollFastFor = 15 * time.Second
	// releaseWait is how long a network or secret may still be refused after the tasks that used it have ended.
	releaseWait = 15 * time.Second
)

// watch returns a function that waits for the next reason to look again: an event of the cluster, or the poll that
// catches what has none. The subscription ends with ctx.
func watch(ctx context.Context, cli Client) func(context.Context) error {
	f := filters.NewArgs(filters.Arg("type", "service"), filters.Arg("type", "node"), filters.Arg("type", "container"),
		filters.Arg("event", "create"), filters.Arg("event", "update"), filters.Arg("event", "remove"), filters.Arg("event", "start"),
		filters.Arg("event", "die"), filters.Arg("event", "destroy"), filters.Arg("event", "health_status"))
	messages, errs := cli.Events(ctx, events.ListOptions{Filters: f})
	began := time.Now()
	return func(ctx context.Context) error {
		wait := pollFast
		if time.Since(began) > pollFastFor {
			wait = pollSlow
		}
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-messages:
			pause(ctx, 5*time.Millisecond) // the manager hears of it a moment after the engine
		case <-errs:
			errs, messages = nil, nil // no events from here on: the poll is enough
		case <-t.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		return nil
	}
}

// pause sleeps, and reports false when the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ended reports a task that will not run again.
func ended(s swarm.TaskState) bool {
	switch s {
	case swarm.TaskStateComplete, swarm.TaskStateShutdown, swarm.TaskStateFailed, swarm.TaskStateRejected, swarm.TaskStateRemove, swarm.TaskStateOrphaned:
		return true
	}
	return false
}
