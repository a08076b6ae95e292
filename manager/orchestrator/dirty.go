package orchestrator

import (
	"bytes"
	"encoding/json"

	"orch/internal/store"
	"orch/manager/scheduler"
)

// likeness is what a task's spec has in common with its service's.
type likeness int

const (
	unknown   likeness = iota
	same               // nothing that matters to a running task differs
	elsewhere          // only the placement differs
	different
)

// Dirty says that the task has to be replaced for the service to be up to date:
// n, its node or nil, decides where only the placement has changed.
func Dirty(s *store.Service, t *store.Task, n *store.Node) bool {
	return compare(s, t).dirty(s, n)
}

func (p *pass) dirty(t *task) bool {
	like := p.likes[t.SpecVersion]
	if like == unknown {
		like = compare(p.service, t.Task)
		p.likes[t.SpecVersion] = like
	}
	return like.dirty(p.service, p.tx.Node(t.NodeID))
}

func (l likeness) dirty(s *store.Service, n *store.Node) bool {
	switch l {
	case same:
		return false
	case elsewhere:
		return n == nil || !placeable(s, n)
	default:
		return true
	}
}

// placeable says whether the service's constraints allow a node.
func placeable(s *store.Service, n *store.Node) bool {
	if s.Spec.TaskTemplate.Placement == nil {
		return true
	}
	constraints, err := scheduler.ParseConstraints(s.Spec.TaskTemplate.Placement.Constraints)
	return err != nil || constraints.Match(n) // unparsable: refused when it was sent
}

// compare looks at what a new task would be made from: neither scale nor the
// service's labels nor its update configuration are part of that.
func compare(s *store.Service, t *store.Task) likeness {
	if t.SpecVersion == s.SpecVersion {
		return same
	}
	wanted := s.Spec.TaskTemplate
	switch {
	case !equal(s.Spec.EndpointSpec, t.Endpoint):
		return different
	case equal(wanted, t.Spec):
		return same
	}
	wanted.Placement = t.Spec.Placement
	if equal(wanted, t.Spec) {
		return elsewhere
	}
	return different
}

// equal compares what the store would keep: in JSON an empty map and none at
// all are the same.
func equal(a, b any) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}
