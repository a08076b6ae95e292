package scheduler

import (
	"slices"

	"github.com/docker/docker/api/types/swarm"
)

// A node has generic resources of a kind either by name or by number; a task
// asks for a number of a kind and is given names or a number accordingly.

func copyGeneric(all []swarm.GenericResource) []swarm.GenericResource {
	c := make([]swarm.GenericResource, len(all))
	for i, r := range all {
		c[i] = r
		if d := r.DiscreteResourceSpec; d != nil {
			number := *d
			c[i].DiscreteResourceSpec = &number
		}
	}
	return c
}

// available is how many of a kind there are.
func available(all []swarm.GenericResource, kind string) (n int64) {
	for _, r := range all {
		if d := r.DiscreteResourceSpec; d != nil && d.Kind == kind {
			n += d.Value
		}
		if r.NamedResourceSpec != nil && r.NamedResourceSpec.Kind == kind {
			n++
		}
	}
	return n
}

// enough says whether a node has what a task asks for.
func enough(all, asked []swarm.GenericResource) bool {
	for _, a := range asked {
		if a.DiscreteResourceSpec == nil || available(all, a.DiscreteResourceSpec.Kind) < a.DiscreteResourceSpec.Value {
			return false
		}
	}
	return true
}

// claim chooses what the task is given of what the node has.
func (n *node) claim(asked []swarm.GenericResource) (given []swarm.GenericResource) {
	for _, a := range asked {
		want := *a.DiscreteResourceSpec // the filter lets no other through
		for _, r := range n.generic {
			if named := r.NamedResourceSpec; named != nil && named.Kind == want.Kind && want.Value > 0 {
				given = append(given, swarm.GenericResource{NamedResourceSpec: named})
				want.Value--
			}
		}
		if want.Value > 0 {
			given = append(given, swarm.GenericResource{DiscreteResourceSpec: &want})
		}
	}
	return given
}

// consume takes what a task was given from what a node has left. The discrete
// ones in all are the node's own copies.
func consume(all, given []swarm.GenericResource) []swarm.GenericResource {
	for _, g := range given {
		if d := g.DiscreteResourceSpec; d != nil {
			for _, r := range all {
				if r.DiscreteResourceSpec != nil && r.DiscreteResourceSpec.Kind == d.Kind {
					r.DiscreteResourceSpec.Value -= d.Value
				}
			}
		}
		if g.NamedResourceSpec != nil {
			all = slices.DeleteFunc(all, func(r swarm.GenericResource) bool {
				return r.NamedResourceSpec != nil && *r.NamedResourceSpec == *g.NamedResourceSpec
			})
		}
	}
	return all
}
