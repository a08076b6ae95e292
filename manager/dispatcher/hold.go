package dispatcher

import (
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/internal/store"
	"orch/manager/allocator"
)

// confirmWithin bounds how long a task's stop waits for nodes to confirm that it
// is out of rotation. Swarm sleeps two seconds instead, always.
const confirmWithin = time.Second

// hold keeps a task running that should stop until nothing leads to it any more.
type hold struct {
	service string
	node    string
	until   time.Time
	// waits is the message by which each node was told, by node.
	waits map[string]uint64
	// absent are nodes that have yet to open a session with this leader.
	absent map[string]bool
}

// inherit keeps the tasks running whose stop the leader before was about to allow, or had: what it knew of the nodes is gone
// with it. A worker that has been told to stop a task does not go back on that.
func (d *Dispatcher) inherit(v *store.View) {
	for _, t := range v.Tasks(store.All()) {
		if !live(t) || t.Wanted() || t.Status.State != swarm.TaskStateRunning || len(t.NetworksAttachments) == 0 {
			continue
		}
		h := &hold{service: t.ServiceID, node: t.NodeID, until: time.Now().Add(confirmWithin), waits: map[string]uint64{}, absent: map[string]bool{}}
		for _, n := range v.Nodes(store.All()) {
			if n.Status.State == swarm.NodeStateReady {
				h.absent[n.ID] = true
			}
		}
		d.holds[t.ID] = h
	}
}

// arrived notes that a node has its full set, by message seq, and has to put that in force.
func (d *Dispatcher) arrived(node string, seq uint64) {
	for _, h := range d.holds {
		if h.absent[node] {
			delete(h.absent, node)
			h.waits[node] = seq
		}
	}
}

// hold keeps the tasks that these changes take out of rotation.
func (d *Dispatcher) hold(changes []store.Change) {
	for _, c := range changes {
		if c.Kind != store.KindTask || c.Old == nil {
			continue
		}
		old, now := c.Old.(*store.Task), d.world.view.Task(c.ID())
		if now == nil || !live(now) {
			delete(d.holds, c.ID()) // over already: nothing to wait for
			continue
		}
		if inRotation(old) && !inRotation(now) && !allocator.Attachment(now) && len(now.NetworksAttachments) > 0 && d.holds[now.ID] == nil {
			d.holds[now.ID] = &hold{service: now.ServiceID, node: now.NodeID, until: time.Now().Add(confirmWithin), waits: map[string]uint64{}}
		}
	}
}

// held says whether a task is kept from stopping.
func (d *Dispatcher) held(task string) bool { return d.holds[task] != nil }

// awaitConfirmation notes that a node was told of a service's new backends by
// message seq.
func (d *Dispatcher) awaitConfirmation(node string, seq uint64, told ...[]bus.Resource) {
	for _, h := range d.holds {
		for _, resources := range told {
			for _, r := range resources {
				if r.Kind == bus.KindService && r.ID == h.service && h.waits[node] == 0 {
					h.waits[node] = seq
				}
			}
		}
	}
}

// release lets the tasks stop that every node has taken out of rotation.
func (d *Dispatcher) release() {
	for task, h := range d.holds {
		if d.confirmed(h) {
			d.let(task, h)
		}
	}
}

func (d *Dispatcher) confirmed(h *hold) bool {
	if len(h.absent) > 0 {
		return false
	}
	for node, seq := range h.waits {
		// A node without a session is not asked: it is lost, or it asks for
		// its full set, which has the service as it is now.
		if s := d.sessions[node]; s != nil && s.applied < seq {
			return false
		}
	}
	return true
}

// releaseOverdue lets the tasks stop whose nodes did not all confirm in time.
func (d *Dispatcher) releaseOverdue() {
	for task, h := range d.holds {
		if time.Now().After(h.until) {
			d.Log.Warn("a task stops before every node confirmed that it is out of rotation", "task", task, "waited", confirmWithin)
			d.let(task, h)
		}
	}
}

func (d *Dispatcher) let(task string, h *hold) {
	delete(d.holds, task)
	if s := d.sessions[h.node]; s != nil {
		d.send(h.node, s)
	}
}
