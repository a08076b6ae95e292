// Package host owns the rules in the node's own network namespace: published ports led to tasks by the kernel, the tasks' way out, and
// the accepts without which the engine's or the machine's firewall would drop what they lead.
//
//	prerouting   a published port of one of the node's addresses -> a task, marked
//	forward      the mark is accepted, by way of DOCKER-USER, ahead of the engine's own rules
//	postrouting  the mark leaves as from the node's address on the task's network, so that the answer comes back here
//
// A Plan is a pure function of the state; a Host compares it with what it wrote and with what the kernel still has, and writes the
// difference, a port's in one transaction. The rules are one table of nftables and three chains of iptables, named after the daemon's
// instance. They stay when the process ends: published ports go on answering while the daemon is away. What the kernel path does not
// carry (localhost, IPv6, the PROXY protocol, containers of this node) the listeners of package ingress do; so only ports that are
// listened on are captured.
package host

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/worker/network/ingress"
	"orch/worker/network/overlay"
)

// Plan is all that the node's own namespace should hold.
type Plan struct {
	// Ports are those that the kernel leads to tasks.
	Ports map[ingress.Port]Target
	// Published are all ports that the node answers on, in order.
	Published []ingress.Port
	Networks  []Network
	// Peers are the other nodes, in order; they send VXLAN.
	Peers []netip.Addr
	VXLAN int
}

// Target is what a port leads to: at least one task.
type Target struct {
	Backends []netip.Addr // in order
	Port     uint16
	Sticky   bool
}

// Network is a network that is on the node.
type Network struct {
	Bridge   string
	Subnet   netip.Prefix
	NodeIP   netip.Addr
	Internal bool
}

func (p Plan) empty() bool { return len(p.Networks)+len(p.Published) == 0 }

func (p Plan) sameBase(o Plan) bool { return slices.Equal(p.Networks, o.Networks) }

// sameAccepts says that two plans need the same rules of iptables.
func (p Plan) sameAccepts(o Plan) bool {
	return p.sameBase(o) && p.VXLAN == o.VXLAN && slices.Equal(p.Published, o.Published) && slices.Equal(p.Peers, o.Peers)
}

func (p Plan) equal(o Plan) bool {
	return p.sameAccepts(o) && maps.EqualFunc(p.Ports, o.Ports, Target.equal)
}

func (t Target) equal(o Target) bool {
	return t.Port == o.Port && t.Sticky == o.Sticky && slices.Equal(t.Backends, o.Backends)
}

// New plans the rules for the networks that are on the node, and the ports that it listens on.
func New(networks []bus.Network, ports map[ingress.Port]ingress.Target, vxlan int) Plan {
	p := Plan{Ports: map[ingress.Port]Target{}, VXLAN: vxlan}
	peers := map[netip.Addr]bool{}
	for _, w := range networks {
		n := Network{Bridge: overlay.Bridge(w.VNI), Internal: w.Internal}
		var err error
		if n.Subnet, err = netip.ParsePrefix(w.Subnet); err != nil || !n.Subnet.Addr().Is4() {
			continue
		}
		n.NodeIP, _ = netip.ParseAddr(w.NodeIP)
		p.Networks = append(p.Networks, n)
		for _, peer := range w.Peers {
			if a, err := netip.ParseAddr(peer.Underlay); err == nil && a.Is4() {
				peers[a] = true
			}
		}
	}
	slices.SortFunc(p.Networks, func(a, b Network) int { return cmp.Compare(a.Bridge, b.Bridge) })
	p.Peers = slices.SortedFunc(maps.Keys(peers), netip.Addr.Compare)
	for port, t := range ports {
		p.Published = append(p.Published, port)
		if target, ok := p.target(t); ok {
			p.Ports[port] = target
		}
	}
	slices.SortFunc(p.Published, func(a, b ingress.Port) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Number, b.Number))
	})
	return p
}

// target is what of a published port the kernel can lead: tasks from which the answers come back here.
func (p Plan) target(t ingress.Target) (Target, bool) {
	out := Target{Sticky: t.Sticky}
	if t.Proxy {
		return out, false // the kernel does not announce the client
	}
	for _, b := range t.Backends {
		back := func(n Network) bool { return n.NodeIP.Is4() && n.Subnet.Contains(b.Addr()) }
		if b.Addr().Is4() && slices.ContainsFunc(p.Networks, back) {
			out.Backends, out.Port = append(out.Backends, b.Addr()), b.Port()
		}
	}
	slices.SortFunc(out.Backends, netip.Addr.Compare)
	return out, len(out.Backends) > 0
}

// Protocols that can be published, with their numbers.
var protocols = map[swarm.PortConfigProtocol]byte{
	swarm.PortConfigProtocolTCP: 6, swarm.PortConfigProtocolUDP: 17, swarm.PortConfigProtocolSCTP: 132,
}

// change is the way from one set of ports to another.
type change struct {
	set, gone []ingress.Port
	// retired are the tasks that a port led to and does not any more.
	retired map[ingress.Port][]netip.Addr
}

func (c change) empty() bool { return len(c.set)+len(c.gone) == 0 }

func diff(have, want map[ingress.Port]Target) change {
	c := change{retired: map[ingress.Port][]netip.Addr{}}
	for port, t := range want {
		old, ok := have[port]
		if ok && old.equal(t) {
			continue
		}
		c.set = append(c.set, port)
		for _, b := range old.Backends {
			if old.Port != t.Port || !slices.Contains(t.Backends, b) {
				c.retired[port] = append(c.retired[port], b)
			}
		}
	}
	for port, old := range have {
		if _, ok := want[port]; !ok {
			c.gone = append(c.gone, port)
			c.retired[port] = old.Backends
		}
	}
	return c
}
