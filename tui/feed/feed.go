// Package feed owns every call that the dashboard makes to the Docker API. It turns lists and the event stream
// into immutable snapshots; it never draws, and nothing it has handed out changes afterwards.
package feed

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/swarm"

	"orch/compose"
)

const (
	// callTimeout turns an API that hangs into an error that can be shown.
	callTimeout = 5 * time.Second
	// settle gathers a burst of events into one refresh, and keeps an event's way to the screen below 200 ms.
	settle = 100 * time.Millisecond
	// taskPeriod is how often tasks are read again: Swarm sends no events for them.
	taskPeriod = 2 * time.Second
	// keptEvents is enough for a tall screen.
	keptEvents = 200
)

// Client is the part of the Docker client that the feed reads.
type Client interface {
	NodeList(context.Context, swarm.NodeListOptions) ([]swarm.Node, error)
	ServiceList(context.Context, swarm.ServiceListOptions) ([]swarm.Service, error)
	TaskList(context.Context, swarm.TaskListOptions) ([]swarm.Task, error)
	Events(context.Context, events.ListOptions) (<-chan events.Message, <-chan error)
}

// State is the cluster as last read. StaleSince is zero while the cluster answers.
type State struct {
	Nodes      []swarm.Node
	Services   []swarm.Service
	Tasks      []swarm.Task
	Events     []events.Message // oldest first
	At         time.Time
	StaleSince time.Time
	Err        error
}

// Fetch reads the whole cluster once.
func Fetch(ctx context.Context, c Client) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var s State
	var err error
	if s.Nodes, err = c.NodeList(ctx, swarm.NodeListOptions{}); err != nil {
		return State{}, fmt.Errorf("list nodes: %w", err)
	}
	if s.Services, err = c.ServiceList(ctx, swarm.ServiceListOptions{Status: true}); err != nil {
		return State{}, fmt.Errorf("list services: %w", err)
	}
	if s.Tasks, err = c.TaskList(ctx, swarm.TaskListOptions{}); err != nil {
		return State{}, fmt.Errorf("list tasks: %w", err)
	}
	done := compose.Completed(s.Tasks)
	for _, v := range s.Services {
		if v.ServiceStatus != nil && compose.RunsOnce(v) {
			v.ServiceStatus.CompletedTasks = done[v.ID]
		}
	}
	s.At = time.Now()
	return s, nil
}

// Watch publishes a snapshot at once and after every change until ctx ends. It reconnects by itself; while it
// cannot, the last state is published again with the error and the time since when it is stale.
func Watch(ctx context.Context, c Client, publish func(State)) {
	var last State
	for ctx.Err() == nil {
		last = follow(ctx, c, last, publish)
		wait(ctx, taskPeriod)
	}
}

// follow runs until one event stream ends, and returns what was known then.
func follow(ctx context.Context, c Client, last State, publish func(State)) State {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages, errs := c.Events(ctx, events.ListOptions{})
	refresh := time.NewTimer(0)
	defer refresh.Stop()
	pending := false
	for {
		select {
		case <-ctx.Done():
			return last
		case err := <-errs:
			if ctx.Err() != nil {
				return last
			}
			last = stale(last, fmt.Errorf("follow events: %w", err), time.Now())
			publish(last)
			return last
		case m := <-messages:
			last.Events = remember(last.Events, m)
			if !pending {
				pending = true
				refresh.Reset(settle)
			}
		case <-refresh.C:
			pending = false
			next, err := Fetch(ctx, c)
			if ctx.Err() != nil {
				return last
			}
			if err != nil {
				last = stale(last, err, time.Now())
			} else {
				next.Events = last.Events
				last = next
			}
			publish(last)
			refresh.Reset(taskPeriod)
		}
	}
}

// stale marks a state as old, keeping the moment at which it became so.
func stale(s State, err error, now time.Time) State {
	s.Err = err
	if s.StaleSince.IsZero() {
		s.StaleSince = now
	}
	return s
}

// remember copies, because earlier snapshots still hold the old slice.
func remember(old []events.Message, m events.Message) []events.Message {
	from := max(0, len(old)+1-keptEvents)
	kept := make([]events.Message, 0, len(old)-from+1)
	return append(append(kept, old[from:]...), m)
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
