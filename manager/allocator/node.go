package allocator

import (
	"maps"
	"slices"

	"orch/internal/store"
)

// nodes brings the addresses of nodes to what their tasks need: of those nodes
// that a task of the transaction came to or left, and the ingress network's of all.
func (a *allocation) nodes() {
	touched := map[string]bool{}
	for _, c := range a.tx.Changes() {
		if c.Kind != store.KindTask {
			continue
		}
		for _, o := range []store.Object{c.Old, c.New} {
			if t, ok := o.(*store.Task); ok && t != nil {
				touched[t.NodeID] = true
			}
		}
	}
	for _, n := range a.tx.Nodes(store.All()) {
		a.node(n, touched[n.ID])
	}
}

func (a *allocation) node(n *store.Node, touched bool) {
	addrs := maps.Clone(n.NetworkAddrs)
	if addrs == nil {
		addrs = map[string]string{}
	}
	maps.DeleteFunc(addrs, func(id, _ string) bool { return a.tx.Network(id) == nil })
	needed := map[string]*store.Network{}
	if a.ingress != nil && allocated(a.ingress) {
		needed[a.ingress.ID] = a.ingress
	}
	if touched {
		a.addTaskNetworks(n.ID, needed)
		maps.DeleteFunc(addrs, func(id, _ string) bool { return needed[id] == nil })
	}
	for _, id := range slices.Sorted(maps.Keys(needed)) {
		if addrs[id] != "" {
			continue
		}
		// Without an address the node cannot take part in the network; the next
		// call tries again.
		if addr, err := a.pool(needed[id]).allocate(); err == nil {
			addrs[id] = addr.Addr().String()
		}
	}
	if maps.Equal(addrs, n.NetworkAddrs) {
		return
	}
	c := *n
	c.NetworkAddrs = addrs
	a.tx.Put(&c)
}

// addTaskNetworks adds the networks on which the node has a task that has not ended.
func (a *allocation) addTaskNetworks(node string, needed map[string]*store.Network) {
	for _, t := range a.tx.Tasks(store.OnNode(node)) {
		if !t.Assigned() || t.Ended() {
			continue
		}
		for _, at := range t.NetworksAttachments {
			if n := a.tx.Network(at.Network.ID); n != nil && Managed(n) && allocated(n) {
				needed[n.ID] = n
			}
		}
	}
}
