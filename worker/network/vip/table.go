// Package vip leads a service's address to its tasks, inside the network namespace of each task that may call it: a table of
// nftables with one chain for each address. The server sees the caller's own address, and nothing stands between them.
//
// A Table is a pure function of the services; a Space owns the rules in one namespace and applies differences. Rules only
// choose for new connections: established ones are the kernel's and outlive every change here, and this process too.
package vip

import (
	"net/netip"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
)

// StickyLabel asks for the same task for every connection of one client address.
const StickyLabel = "orch.lb.sticky"

// Sticky says whether a service asked for affinity by the source's address.
func Sticky(s bus.Service) bool { return s.Labels[StickyLabel] == "source" }

// Target is what one address leads to; without backends it refuses.
type Target struct {
	Backends []netip.Addr
	Sticky   bool
}

func (t Target) equal(o Target) bool {
	return t.Sticky == o.Sticky && slices.Equal(t.Backends, o.Backends)
}

// Table is what the service addresses of one network lead to.
type Table map[netip.Addr]Target

// TableOf is the table of a network.
func TableOf(network string, services []bus.Service) Table {
	t := Table{}
	for _, s := range services {
		vip, err := netip.ParseAddr(s.VIPs[network])
		if err != nil || !vip.Is4() || s.Mode == swarm.ResolutionModeDNSRR {
			continue
		}
		t[vip] = Target{Backends: Addrs(network, s.Backends), Sticky: Sticky(s)}
	}
	return t
}

// Addrs are the backends' addresses on a network, in order.
func Addrs(network string, backends []bus.Backend) []netip.Addr {
	out := make([]netip.Addr, 0, len(backends))
	for _, b := range backends {
		if a, err := netip.ParseAddr(b.Addrs[network]); err == nil && a.Is4() {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// change is the way from one table to another.
type change struct {
	set  []netip.Addr // new, or leading elsewhere now
	gone []netip.Addr
	// retired are the backends that an address led to and does not any more.
	retired map[netip.Addr][]netip.Addr
}

func (c change) empty() bool { return len(c.set) == 0 && len(c.gone) == 0 }

// diff compares what is with the union of tables that should be.
func diff(have Table, want []Table) change {
	c := change{retired: map[netip.Addr][]netip.Addr{}}
	for _, t := range want {
		for a, target := range t {
			old, ok := have[a]
			if ok && old.equal(target) {
				continue
			}
			c.set = append(c.set, a)
			for _, b := range old.Backends {
				if _, still := slices.BinarySearchFunc(target.Backends, b, netip.Addr.Compare); !still {
					c.retired[a] = append(c.retired[a], b)
				}
			}
		}
	}
	for a, old := range have {
		if _, ok := find(want, a); !ok {
			c.gone = append(c.gone, a)
			c.retired[a] = old.Backends
		}
	}
	slices.SortFunc(c.set, netip.Addr.Compare)
	slices.SortFunc(c.gone, netip.Addr.Compare)
	return c
}

func find(tables []Table, a netip.Addr) (Target, bool) {
	for _, t := range tables {
		if target, ok := t[a]; ok {
			return target, true
		}
	}
	return Target{}, false
}
