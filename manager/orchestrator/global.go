package orchestrator

import (
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// global keeps one task on every node that may run the service. A paused node
// keeps what it has and gets nothing new.
func (p *pass) global() {
	p.judge()
	updated := slots{}
	nodes := map[string]bool{}
	for _, n := range p.tx.Nodes(store.All()) {
		if !up(n) || !placeable(p.service, n) {
			continue
		}
		nodes[n.ID] = true
		s := p.slot(key{node: n.ID})
		if n.Spec.Availability == swarm.NodeAvailabilityPause {
			p.stopEnded(s)
			continue
		}
		p.restart(s)
		if !p.filled(s) {
			p.create(s)
		}
		updated = append(updated, s)
	}
	for _, s := range p.slots {
		if !nodes[s.node] {
			p.vacate(s)
		}
	}
	p.update(updated)
}

// up says that a node is there to run tasks. One that has not been heard of
// yet, or is about to be counted as down, still is.
func up(n *store.Node) bool {
	return n.Status.State != swarm.NodeStateDown && n.Spec.Availability != swarm.NodeAvailabilityDrain
}

func (p *pass) stopEnded(s *slot) {
	for _, t := range s.live() {
		if t.Ended() {
			p.stop(t)
		}
	}
}

// vacate stops the service on a node that is not to run it; the history of one
// that is gone goes too.
func (p *pass) vacate(s *slot) {
	gone := p.tx.Node(s.node) == nil
	for _, t := range slices.Clone(s.tasks) {
		if gone {
			p.forget(t)
		} else {
			p.stop(t)
		}
	}
}
