package scheduler

import (
	"cmp"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// Schedule assigns the tasks that are allocated and wait for a node. What it
// cannot place stays pending and says why.
func Schedule(tx *store.Tx) {
	var chosen, free []*store.Task
	for _, t := range tx.Tasks(store.Waiting()) {
		switch {
		case t.Status.State != swarm.TaskStatePending: // not allocated yet
		case t.NodeID != "":
			chosen = append(chosen, t)
		default:
			free = append(free, t)
		}
	}
	if len(chosen)+len(free) == 0 {
		return
	}
	s := &state{tx: tx, byID: map[string]*node{}}
	s.load()
	// Tasks of global services first: they have nowhere else to go.
	for _, t := range chosen {
		s.confirm(t)
	}
	for _, g := range groups(free) {
		s.place(g)
	}
}

// state is what one run of the scheduler knows of the cluster.
type state struct {
	tx    *store.Tx
	nodes []*node // by ID
	byID  map[string]*node
}

func (s *state) load() {
	leaving := s.leaving()
	for _, n := range s.tx.Nodes(store.All()) {
		info := newNode(n)
		for _, t := range s.tx.Tasks(store.OnNode(n.ID)) {
			if t.Assigned() && !t.Ended() {
				info.add(t, leaving[t.ID])
			}
		}
		s.nodes = append(s.nodes, info)
		s.byID[n.ID] = info
	}
}

// leaving are the tasks that another one is to replace.
func (s *state) leaving() map[string]bool {
	out := map[string]bool{}
	for _, t := range s.tx.Tasks(store.All()) {
		if t.Replaces != "" && t.Wanted() && !t.Ended() {
			out[t.Replaces] = true
		}
	}
	return out
}

// groups puts tasks together that are made from the same spec, the oldest first.
func groups(tasks []*store.Task) [][]*store.Task {
	type spec struct {
		service string
		version uint64
	}
	slices.SortStableFunc(tasks, func(a, b *store.Task) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ServiceID, b.ServiceID), cmp.Compare(a.Slot, b.Slot))
	})
	var all [][]*store.Task
	index := map[spec]int{}
	for _, t := range tasks {
		k := spec{t.ServiceID, t.SpecVersion}
		i, ok := index[k]
		if !ok {
			i = len(all)
			index[k] = i
			all = append(all, nil)
		}
		all[i] = append(all[i], t)
	}
	return all
}

// confirm lets a task whose node was chosen by its service run there, if it fits.
func (s *state) confirm(t *store.Task) {
	n := s.byID[t.NodeID]
	if n == nil {
		return
	}
	f := filters(t)
	if !f.pass(n) {
		s.explain(t, f.explain([]*node{n}))
		return
	}
	s.assign(t, n, "scheduler confirmed task can run on preassigned node")
}

// place assigns tasks that are made from the same spec.
func (s *state) place(group []*store.Task) {
	f := filters(group[0])
	order := s.order(group[0])
	group = s.settle(group, f)
	if len(group) == 0 {
		return
	}
	t := s.tree(group, f)
	left := t.place(group, len(group), func(task *store.Task, n *node) {
		s.assign(task, n, "scheduler assigned task to node")
	}, f, order)
	if len(left) == 0 {
		return
	}
	why := "no suitable node"
	if reasons := f.explain(s.nodes); reasons != "" {
		why += " (" + reasons + ")"
	}
	for _, task := range left {
		s.explain(task, why)
	}
}

func (s *state) assign(t *store.Task, n *node, message string) {
	c := *t
	c.NodeID = n.ID
	c.Status = swarm.TaskStatus{State: swarm.TaskStateAssigned, Timestamp: s.tx.Now(), Message: message}
	c.AppliedAt = s.tx.Now()
	c.GenericResources = n.claim(reservations(t).GenericResources)
	n.add(&c, false)
	s.tx.Put(&c)
}

// explain notes why a task has no node, unless it says so already: a task that
// cannot be placed must not cost a write each time it is tried.
func (s *state) explain(t *store.Task, why string) {
	if t.Status.Err == why {
		return
	}
	c := *t
	c.Status.Err, c.Status.Timestamp = why, s.tx.Now()
	s.tx.Put(&c)
}
