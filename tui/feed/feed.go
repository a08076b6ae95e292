// Package feed owns every call that the dashboard makes to the Docker API. It turns lists and the event stream into immutable
// snapshots, opens logs and measurements, and carries changes out; it never draws, and nothing it has handed out changes afterwards.
package feed

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
)

const (
	// callTimeout turns an API that hangs into an error that can be shown.
	callTimeout = 5 * time.Second
	// settle gathers a burst of events into one refresh, and keeps an event's way to the screen well below 200 ms.
	settle = 50 * time.Millisecond
	// taskPeriod is how often a real Swarm's tasks are read again: it sends no events for them.
	taskPeriod = 3 * time.Second
	// retryEvery is how long an API that does not answer is left alone.
	retryEvery = time.Second
	// keptEvents is enough for a wall screen.
	keptEvents = 500
	// manyTasks is from how many changed tasks on all are read again, not each by its ID.
	manyTasks = 2000
)

// followed are the events that the dashboard acts upon. Swarm knows no task events and sends none; orch sends them to those who ask.
var followed = []events.Type{
	events.NodeEventType, events.ServiceEventType, events.NetworkEventType, events.SecretEventType, events.ConfigEventType,
	events.VolumeEventType, events.ImageEventType, taskEvent,
}

const taskEvent events.Type = "task"

// Watch publishes a snapshot at once and after every change until ctx ends. It reconnects by itself, to the next of the pool's APIs if
// there are several; while it cannot, the last state is published again with the error and the time since when it is stale.
func Watch(ctx context.Context, p *Pool, publish func(State)) {
	w := &watcher{publish: publish}
	for ctx.Err() == nil {
		c := p.Current()
		w.state.Endpoint = c.Host
		if err := w.follow(ctx, c.API); err != nil && ctx.Err() == nil {
			w.stale(err, time.Now())
			p.Next()
			wait(ctx, retryEvery)
		}
	}
}

// watcher is owned by the goroutine of Watch.
type watcher struct {
	publish  func(State)
	state    State
	services map[string]*swarm.Service
	tasks    map[string]*Task
	strings  map[string]string
	dirty    dirty
}

// dirty is what has changed since it was read.
type dirty struct {
	all             bool
	services, tasks map[string]bool
	kinds           map[events.Type]bool
}

// follow runs until one event stream ends.
func (w *watcher) follow(ctx context.Context, c Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The client's first call agrees on a version, for all others and without a deadline: one that hangs must not be that call.
	asking, asked := context.WithTimeout(ctx, callTimeout)
	_, err := c.Ping(asking)
	asked()
	if err != nil {
		return named("ask for the API", err)
	}
	f := filters.NewArgs()
	for _, t := range followed {
		f.Add("type", string(t))
	}
	// The stream is opened first, so that nothing between it and the lists is missed.
	messages, errs := c.Events(ctx, events.ListOptions{Filters: f})
	if err := w.readAll(ctx, c); err != nil {
		return err
	}
	w.show()
	if err := w.readRest(ctx, c); err != nil {
		return err
	}
	w.show()
	w.dirty = clean()
	refresh, poll := time.NewTimer(time.Hour), time.NewTimer(taskPeriod)
	defer refresh.Stop()
	defer poll.Stop()
	pending := false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-errs:
			return fmt.Errorf("follow events: %w", err)
		case m := <-messages:
			w.note(m)
			if !pending {
				pending = true
				refresh.Reset(settle)
			}
		case <-poll.C:
			poll.Reset(taskPeriod)
			if w.state.Orch || pending {
				continue
			}
			w.dirty.all = true
			pending = true
			refresh.Reset(0)
		case <-refresh.C:
			pending = false
			if err := w.readDirty(ctx, c); err != nil {
				return err
			}
			w.show()
		}
	}
}

func clean() dirty {
	return dirty{services: map[string]bool{}, tasks: map[string]bool{}, kinds: map[events.Type]bool{}}
}

// note takes an event in.
func (w *watcher) note(m events.Message) {
	switch m.Type {
	case taskEvent:
		w.dirty.tasks[m.Actor.ID] = true
		return // thousands of them would push the others off the list
	case events.ServiceEventType:
		w.dirty.services[m.Actor.ID] = true
		if !w.state.Orch {
			w.dirty.all = true
		}
	default:
		w.dirty.kinds[m.Type] = true
	}
	w.state.Events = remember(w.state.Events, m)
}

// show hands the state on.
func (w *watcher) show() {
	w.state.build(w.services, w.tasks)
	w.state.At, w.state.StaleSince, w.state.Err = time.Now(), time.Time{}, nil
	w.publish(w.state)
}

// stale publishes the state as old, keeping the moment at which it became so.
func (w *watcher) stale(err error, now time.Time) {
	w.state.Err = err
	if w.state.StaleSince.IsZero() {
		w.state.StaleSince = now
	}
	w.publish(w.state)
}

// intern keeps one copy of what many tasks say.
func (w *watcher) intern(s string) string {
	if have, ok := w.strings[s]; ok {
		return have
	}
	w.strings[s] = s
	return s
}

// readDirty reads what has changed.
func (w *watcher) readDirty(ctx context.Context, c Client) error {
	d := w.dirty
	w.dirty = clean()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if d.all || len(d.tasks) > manyTasks {
		if err := w.readAll(ctx, c); err != nil {
			return err
		}
		clear(d.services)
		clear(d.tasks)
	}
	if len(d.services) > 0 {
		if err := w.readServices(ctx, c, slices.Collect(maps.Keys(d.services))); err != nil {
			return err
		}
	}
	if len(d.tasks) > 0 {
		if err := w.readTasks(ctx, c, slices.Collect(maps.Keys(d.tasks))); err != nil {
			return err
		}
	}
	for kind := range d.kinds {
		if read, ok := reads[kind]; ok {
			if err := read(ctx, c, &w.state); err != nil {
				return err
			}
		}
	}
	return nil
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
