package orchestrator

import (
	"cmp"
	"slices"

	"github.com/docker/docker/api/types/swarm"
)

// replicated keeps n slots, numbered from 1, filled.
func (p *pass) replicated(n int) {
	p.judge()
	for _, s := range p.slots {
		p.restart(s)
	}
	var filled slots
	for _, s := range p.slots {
		if p.filled(s) {
			filled = append(filled, s)
		}
	}
	if len(filled) > n {
		filled = keep(filled, n)
	}
	stays := map[*slot]bool{}
	for _, s := range filled {
		stays[s] = true
	}
	for number := 1; len(filled) < n; number++ {
		s := p.slot(key{number: number})
		if !stays[s] {
			p.create(s)
			stays[s] = true
			filled = append(filled, s)
		}
	}
	for _, s := range p.slots {
		if !stays[s] {
			p.removeAll(s)
		}
	}
	filled.sort()
	p.update(filled)
}

func (p *pass) removeAll(s *slot) {
	for _, t := range slices.Clone(s.tasks) {
		p.remove(t)
	}
}

// filled says that the slot has a task that is wanted, or that its last attempt
// ended and is not to be followed by another.
func (p *pass) filled(s *slot) bool {
	if len(s.live()) > 0 {
		return true
	}
	// A rollback always leads to a full service.
	if u := p.service.UpdateStatus; u != nil && u.State == swarm.UpdateStateRollbackStarted {
		return false
	}
	t := s.newest()
	return t != nil && !p.restartable(s, t)
}

// keep chooses the n slots that stay when a service shrinks. Those go first
// that are the last of many on their node, then those that do not run, then the
// highest numbers.
func keep(filled slots, n int) slots {
	ranked := slices.Clone(filled)
	slices.SortFunc(ranked, func(a, b *slot) int {
		return cmp.Or(first(a.running(), b.running()), cmp.Compare(a.number, b.number))
	})
	// nth says that the slot is its node's nth of the service; 0: on no one node.
	nth, onNode := map[*slot]int{}, map[string]int{}
	for _, s := range ranked {
		if live := s.live(); len(live) == 1 && live[0].NodeID != "" {
			onNode[live[0].NodeID]++
			nth[s] = onNode[live[0].NodeID]
		}
	}
	slices.SortStableFunc(ranked, func(a, b *slot) int {
		return cmp.Or(first(nth[a] > 0, nth[b] > 0), cmp.Compare(nth[a], nth[b]))
	})
	return ranked[:n]
}

// first orders what is true before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	default:
		return 1
	}
}
