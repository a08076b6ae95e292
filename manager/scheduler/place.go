package scheduler

import (
	"container/heap"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// tree divides the nodes by the values that the placement preferences spread
// over, one level for each preference.
type tree struct {
	tasks    int     // of the service, on all nodes below
	branches []*tree // by value; nil in a leaf
	nodes    []*node // of a leaf: those that pass the filters
}

func (s *state) tree(group []*store.Task, f filterSet) *tree {
	if len(group) == 0 {
		return &tree{}
	}
	t := group[0]
	var labels []string
	if t.Spec.Placement != nil {
		labels = spreadLabels(t.Spec.Placement.Preferences)
	}
	return grow(s.nodes, labels, t.ServiceID, f)
}

// spreadLabels are the labels to spread over, outermost first. What Swarm does
// not know it ignores.
func spreadLabels(prefs []swarm.PlacementPreference) (labels []string) {
	for _, p := range prefs {
		if p.Spread == nil {
			continue
		}
		d := p.Spread.SpreadDescriptor
		if hasPrefixFold(d, nodeLabels) || hasPrefixFold(d, engineLabels) {
			labels = append(labels, d)
		}
	}
	return labels
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) > len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// labelOf is the value by which a node is spread; nodes without the label are
// one branch.
func labelOf(n *node, descriptor string) string {
	if hasPrefixFold(descriptor, nodeLabels) {
		return n.Spec.Labels[descriptor[len(nodeLabels):]]
	}
	return n.Description.Engine.Labels[descriptor[len(engineLabels):]]
}

func grow(nodes []*node, labels []string, service string, f filterSet) *tree {
	t := &tree{}
	byValue := map[string][]*node{}
	for _, n := range nodes {
		t.tasks += n.byService[service]
		if len(labels) > 0 {
			v := labelOf(n, labels[0])
			byValue[v] = append(byValue[v], n)
		} else if f.pass(n) {
			t.nodes = append(t.nodes, n)
		}
	}
	for _, v := range slices.Sorted(maps.Keys(byValue)) {
		t.branches = append(t.branches, grow(byValue[v], labels[1:], service, f))
	}
	return t
}

type assignFunc func(*store.Task, *node)

// place assigns the first n of the tasks to nodes of the tree, as many as there
// is room for, and returns those that are left.
func (t *tree) place(tasks []*store.Task, n int, assign assignFunc, f filterSet, order func(a, b *node) int) []*store.Task {
	if len(t.branches) == 0 {
		return t.placeOnNodes(tasks, n, assign, f, order)
	}
	open := slices.Clone(t.branches)
	for n > 0 && len(open) > 0 {
		quotas := even(open, n)
		var still []*tree
		for i, b := range open {
			before := len(tasks)
			tasks = b.place(tasks, quotas[i], assign, f, order)
			placed := before - len(tasks)
			n -= placed
			t.tasks += placed
			if placed == quotas[i] {
				still = append(still, b)
			}
		}
		if len(still) == len(open) {
			break // every branch has taken its part: all are placed
		}
		open = still
	}
	return tasks
}

// even divides n more tasks so that the branches come as close to equal as they can.
func even(branches []*tree, n int) []int {
	quotas := make([]int, len(branches))
	order := make([]int, len(branches)) // the emptiest first
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return branches[a].tasks - branches[b].tasks })
	// Fill the k emptiest to one level, for the largest k at which it is not
	// below any of them.
	sum, k := n, 0
	for k < len(order) && branches[order[k]].tasks*k < sum {
		sum += branches[order[k]].tasks
		k++
	}
	for i, b := range order[:k] {
		level := sum / k
		if i < sum%k {
			level++
		}
		quotas[b] = max(0, level-branches[b].tasks)
	}
	return quotas
}

// placeOnNodes always takes the best node next; only that node changes by it.
func (t *tree) placeOnNodes(tasks []*store.Task, n int, assign assignFunc, f filterSet, order func(a, b *node) int) []*store.Task {
	h := &nodeHeap{order: order}
	for _, node := range t.nodes {
		if f.pass(node) { // it may have filled up since the tree was grown
			h.nodes = append(h.nodes, node)
		}
	}
	heap.Init(h)
	for ; n > 0 && len(tasks) > 0 && len(h.nodes) > 0; n-- {
		best := h.nodes[0]
		assign(tasks[0], best)
		tasks = tasks[1:]
		t.tasks++
		if f.pass(best) {
			heap.Fix(h, 0)
		} else {
			heap.Pop(h)
		}
	}
	return tasks
}

// nodeHeap has the best node first.
type nodeHeap struct {
	nodes []*node
	order func(a, b *node) int
}

func (h *nodeHeap) Len() int           { return len(h.nodes) }
func (h *nodeHeap) Less(i, j int) bool { return h.order(h.nodes[i], h.nodes[j]) < 0 }
func (h *nodeHeap) Swap(i, j int)      { h.nodes[i], h.nodes[j] = h.nodes[j], h.nodes[i] }
func (h *nodeHeap) Push(x any)         { h.nodes = append(h.nodes, x.(*node)) }
func (h *nodeHeap) Pop() any {
	last := h.nodes[len(h.nodes)-1]
	h.nodes = h.nodes[:len(h.nodes)-1]
	return last
}
