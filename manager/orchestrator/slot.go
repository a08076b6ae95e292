package orchestrator

import (
	"cmp"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/identity"
	"orch/internal/store"
)

// key tells slots apart: by number, or by node for global services and jobs.
type key struct {
	number int
	node   string
}

// slot is one place that a service has to fill, with every attempt at it that
// is remembered, oldest first.
type slot struct {
	key
	tasks []*task
}

// task is a task as the pass has changed it.
type task struct {
	*store.Task
	slot *slot
}

// slots are ordered by number, then node.
type slots []*slot

func (p *pass) group(tasks []*store.Task) {
	for _, t := range tasks {
		k := key{number: t.Slot}
		if p.perNode() {
			k = key{node: t.NodeID}
		}
		s := p.slot(k)
		s.tasks = append(s.tasks, &task{t, s})
	}
	for _, s := range p.slots {
		slices.SortStableFunc(s.tasks, func(a, b *task) int { return a.CreatedAt.Compare(b.CreatedAt) })
	}
	p.slots.sort()
}

func (s slots) sort() {
	slices.SortFunc(s, func(a, b *slot) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.node, b.node))
	})
}

func (s slots) tasks() (all []*task) {
	for _, slot := range s {
		all = append(all, slot.tasks...)
	}
	return all
}

// slot is the slot with this key, new if need be.
func (p *pass) slot(k key) *slot {
	s := p.byKey[k]
	if s == nil {
		s = &slot{key: k}
		p.byKey[k] = s
		p.slots = append(p.slots, s)
	}
	return s
}

// live are the slot's tasks that are wanted.
func (s *slot) live() (live []*task) {
	for _, t := range s.tasks {
		if t.Wanted() {
			live = append(live, t)
		}
	}
	return live
}

// running says that a task of the slot runs, and is to go on.
func (s *slot) running() bool {
	return slices.ContainsFunc(s.live(), func(t *task) bool { return t.Status.State == swarm.TaskStateRunning })
}

// newest is the slot's last attempt that was not taken away, or nil.
func (s *slot) newest() *task {
	for _, t := range slices.Backward(s.tasks) {
		if t.DesiredState != swarm.TaskStateRemove {
			return t
		}
	}
	return nil
}

// create makes another attempt at the slot from the service's spec. It starts
// once promote finds nothing in its way.
func (p *pass) create(s *slot) *task {
	t := &store.Task{
		ServiceName: p.service.Spec.Name, ServiceLabels: p.service.Spec.Labels,
		SpecVersion: p.service.SpecVersion, Endpoint: p.service.Spec.EndpointSpec, PullAuth: p.service.PullAuth,
	}
	t.ID, t.ServiceID, t.Slot, t.NodeID = identity.NewID(), p.id, s.number, s.node
	t.Spec = p.service.Spec.TaskTemplate
	t.Status = swarm.TaskStatus{Timestamp: p.now, State: swarm.TaskStateNew, Message: "created"}
	t.AppliedAt = p.now
	t.DesiredState = swarm.TaskStateReady
	if p.job() {
		t.JobIteration = &swarm.Version{Index: p.iteration()}
	}
	p.tx.Put(t)
	made := &task{t, s}
	s.tasks = append(s.tasks, made)
	return made
}

// change writes a task changed by fn.
func (p *pass) change(t *task, fn func(*store.Task)) {
	c := *t.Task
	fn(&c)
	p.tx.Put(&c)
	t.Task = &c
}

// stop has a task stopped and kept as history. One that no worker knows of has
// stopped with that.
func (p *pass) stop(t *task) {
	if !t.Wanted() {
		return
	}
	p.change(t, func(c *store.Task) {
		c.DesiredState = swarm.TaskStateShutdown
		if !t.Assigned() {
			c.Status.State, c.Status.Err, c.Status.Timestamp = swarm.TaskStateShutdown, "", p.now
			c.AppliedAt = p.now
		}
	})
}

// remove has a task stopped and forgotten; one that no worker has anything of
// left to do for is forgotten at once.
func (p *pass) remove(t *task) {
	switch {
	case !t.Assigned() || t.Ended():
		p.forget(t)
	case t.DesiredState != swarm.TaskStateRemove:
		p.change(t, func(c *store.Task) { c.DesiredState = swarm.TaskStateRemove })
	}
}

// forget takes a task out of the store; a worker that still has a container of
// it removes that.
func (p *pass) forget(t *task) {
	p.tx.Delete(t.Task)
	t.slot.tasks = slices.DeleteFunc(t.slot.tasks, func(other *task) bool { return other == t })
}
