package scheduler

import (
	"cmp"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

const (
	// failureWindow and maxFailures say when a node is a service's last choice:
	// so many of its tasks failed there lately.
	failureWindow = 5 * time.Minute
	maxFailures   = 5
)

// node is a node with what its tasks take up.
type node struct {
	*store.Node
	tasks     int            // that are wanted
	byService map[string]int // of them
	leaving   map[string]int // wanted until another has replaced them, by service
	cpu       int64          // nanoCPUs not reserved
	memory    int64          // bytes not reserved
	generic   []swarm.GenericResource
	ports     map[port]bool // published on the host
}

type port struct {
	protocol swarm.PortConfigProtocol
	number   uint32
}

func newNode(n *store.Node) *node {
	r := n.Description.Resources
	return &node{
		Node: n, byService: map[string]int{}, leaving: map[string]int{}, ports: map[port]bool{},
		cpu: r.NanoCPUs, memory: r.MemoryBytes, generic: copyGeneric(r.GenericResources),
	}
}

// add counts a task in. One that is being stopped still holds what it reserved, and one that another is about to replace
// is as good as gone: an update leaves the tasks as evenly spread as it found them.
func (n *node) add(t *store.Task, leaving bool) {
	switch {
	case t.Wanted() && leaving:
		n.leaving[t.ServiceID]++
	case t.Wanted():
		n.tasks++
		n.byService[t.ServiceID]++
	}
	r := reservations(t)
	n.cpu -= r.NanoCPUs
	n.memory -= r.MemoryBytes
	n.generic = consume(n.generic, t.GenericResources)
	for _, p := range hostPorts(t) {
		n.ports[p] = true
	}
}

// reserved is how much of the node is reserved, as a share of its CPUs and
// memory together.
func (n *node) reserved() float64 {
	r := n.Description.Resources
	return share(r.NanoCPUs-n.cpu, r.NanoCPUs) + share(r.MemoryBytes-n.memory, r.MemoryBytes)
}

func share(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func reservations(t *store.Task) swarm.Resources {
	if t.Spec.Resources == nil || t.Spec.Resources.Reservations == nil {
		return swarm.Resources{}
	}
	return *t.Spec.Resources.Reservations
}

func hostPorts(t *store.Task) (ports []port) {
	if t.Endpoint == nil {
		return nil
	}
	for _, p := range t.Endpoint.Ports {
		if p.PublishMode == swarm.PortConfigPublishModeHost && p.PublishedPort != 0 {
			ports = append(ports, port{cmp.Or(p.Protocol, swarm.PortConfigProtocolTCP), p.PublishedPort})
		}
	}
	return ports
}

// order compares two nodes as places for a task of t's kind: the better is less.
func (s *state) order(t *store.Task) func(a, b *node) int {
	failures := s.failures(t)
	return func(a, b *node) int {
		if fa, fb := failures[a.ID], failures[b.ID]; fa != fb && max(fa, fb) >= maxFailures {
			return cmp.Compare(fa, fb)
		}
		return cmp.Or(
			cmp.Compare(a.byService[t.ServiceID], b.byService[t.ServiceID]),
			cmp.Compare(a.tasks, b.tasks),
			cmp.Compare(a.reserved(), b.reserved()),
			cmp.Compare(a.ID, b.ID),
		)
	}
}

// failures counts, by node, how often tasks with t's spec failed lately.
func (s *state) failures(t *store.Task) map[string]int {
	count := map[string]int{}
	for _, other := range s.tx.Tasks(store.OfService(t.ServiceID)) {
		if !other.Wanted() || other.SpecVersion != t.SpecVersion {
			continue
		}
		for _, f := range other.Failures {
			if s.tx.Now().Sub(f.At) < failureWindow {
				count[f.Node]++
			}
		}
	}
	return count
}
