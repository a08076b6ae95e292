package api

import (
	"strconv"
	"sync"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// keptEvents is how far back `since` reaches, as in dockerd.
const keptEvents = 256

// history keeps the latest events and wakes those who follow them.
type history struct {
	kept int
	// mu guards what follows.
	mu    sync.Mutex
	last  []events.Message // at most kept
	total int              // how many there ever were
	grown chan struct{}    // closed and replaced when one is added
}

func newHistory(kept int) *history { return &history{kept: kept, grown: make(chan struct{})} }

func (h *history) add(m events.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.last) == h.kept {
		h.last = h.last[1:]
	}
	h.last = append(h.last, m)
	h.total++
	close(h.grown)
	h.grown = make(chan struct{})
}

// after are the events from number n on, as far as they are kept, how many
// there are in all, and a channel that is closed once there are more.
func (h *history) after(n int) ([]events.Message, int, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	from := max(0, len(h.last)-(h.total-n))
	return append([]events.Message(nil), h.last[min(from, len(h.last)):]...), h.total, h.grown
}

// keptTasks is how far back task events reach, for clients that have just connected: seconds of a large rollout.
const keptTasks = 4096

// TaskEventType is that of task events, which Swarm has not: only those who filter by it, and so know orch, are sent them.
const TaskEventType events.Type = "task"

// eventOf is what Swarm says about a change, and what orch says about tasks; of the cluster there is nothing to say.
func eventOf(c store.Change) (m events.Message, ok bool) {
	o, at := c.New, time.Now()
	m.Action = events.ActionUpdate
	switch {
	case c.New == nil:
		o, m.Action = c.Old, events.ActionRemove
	case c.Old == nil:
		m.Action = events.ActionCreate
	}
	attributes := map[string]string{}
	var meta swarm.Meta
	switch o := o.(type) {
	case *store.Node:
		m.Type, meta = events.NodeEventType, o.Meta
		attributes["name"] = o.Description.Hostname
		if m.Action == events.ActionUpdate {
			if c.Old.(*store.Node).Description.Hostname == "" && o.Description.Hostname == "" {
				return m, false // it has not said yet what it is
			}
			nodeChange(attributes, c.Old.(*store.Node), o)
		}
	case *store.Service:
		m.Type, meta = events.ServiceEventType, o.Meta
		attributes["name"] = o.Spec.Name
		if m.Action == events.ActionUpdate {
			serviceChange(attributes, c.Old.(*store.Service), o)
		}
	case *store.Network:
		m.Type, meta = events.NetworkEventType, o.Meta
		attributes["name"] = o.Spec.Name
	case *store.Secret:
		m.Type, meta = events.SecretEventType, o.Meta
		attributes["name"] = o.Spec.Name
	case *store.Config:
		m.Type, meta = events.ConfigEventType, o.Meta
		attributes["name"] = o.Spec.Name
	case *store.Task:
		m.Type, meta = TaskEventType, o.Meta
		attributes["name"], attributes["service"], attributes["node"] = taskName(o), o.ServiceID, o.NodeID
		attributes["state"], attributes["desired"] = string(o.Status.State), string(o.DesiredState)
	default:
		return m, false
	}
	if c.New != nil {
		at = meta.UpdatedAt
	}
	m.Actor = events.Actor{ID: c.ID(), Attributes: attributes}
	m.Scope, m.Time, m.TimeNano = "swarm", at.Unix(), at.UnixNano()
	return m, true
}

func nodeChange(attributes map[string]string, before, after *store.Node) {
	changed(attributes, "availability", string(before.Spec.Availability), string(after.Spec.Availability))
	changed(attributes, "role", string(before.Spec.Role), string(after.Spec.Role))
	changed(attributes, "state", string(before.Status.State), string(after.Status.State))
	if x, y := before.ManagerStatus, after.ManagerStatus; x != nil && y != nil {
		changed(attributes, "leader", strconv.FormatBool(x.Leader), strconv.FormatBool(y.Leader))
		changed(attributes, "reachability", string(x.Reachability), string(y.Reachability))
	}
}

func serviceChange(attributes map[string]string, before, after *store.Service) {
	if x, y := before.Spec.TaskTemplate.ContainerSpec, after.Spec.TaskTemplate.ContainerSpec; x != nil && y != nil {
		changed(attributes, "image", x.Image, y.Image)
	}
	if x, y := before.Spec.Mode.Replicated, after.Spec.Mode.Replicated; x != nil && y != nil && x.Replicas != nil && y.Replicas != nil {
		changed(attributes, "replicas", strconv.FormatUint(*x.Replicas, 10), strconv.FormatUint(*y.Replicas, 10))
	}
	switch x, y := before.UpdateStatus, after.UpdateStatus; {
	case y == nil:
	case x == nil:
		attributes["updatestate.new"] = string(y.State)
	default:
		changed(attributes, "updatestate", string(x.State), string(y.State))
	}
}

func changed(attributes map[string]string, what, before, after string) {
	if before != after {
		attributes[what+".old"], attributes[what+".new"] = before, after
	}
}

// eventMatches applies dockerd's filters to an event of the cluster.
func eventMatches(m events.Message, args filters.Args) bool {
	if !oneOf(args, "type", string(m.Type)) || !oneOf(args, "scope", m.Scope) || !oneOf(args, "event", string(m.Action)) ||
		!labelled(args, "label", m.Actor.Attributes) {
		return false
	}
	for _, kind := range []events.Type{events.NodeEventType, events.ServiceEventType, events.NetworkEventType, events.SecretEventType, events.ConfigEventType} {
		if key := string(kind); args.Contains(key) && (m.Type != kind || !args.ExactMatch(key, m.Actor.ID) && !args.FuzzyMatch(key, m.Actor.Attributes["name"])) {
			return false
		}
	}
	for _, key := range []string{"container", "image", "volume", "daemon", "plugin"} {
		if args.Contains(key) {
			return false
		}
	}
	return true
}
