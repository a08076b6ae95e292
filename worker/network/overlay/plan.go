// Package overlay extends a network's bridge to other nodes: a VXLAN port on it with one forwarding and one neighbour entry for each
// remote task. Nothing is flooded and nothing learned.
//
// A Plan is a pure function of the state; Apply compares it with the kernel and changes the difference. It touches only the
// bridge and the VXLAN device of the plan.
package overlay

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"orch/internal/bus"
)

const (
	// vxlanCost is what VXLAN over IPv4 takes of the underlay's packets, vxlanCost6 over IPv6.
	vxlanCost, vxlanCost6 = 50, 70
	// cryptCost is for encrypted networks: what the costliest way takes (VXLAN over IPv6 within WireGuard over IPv6), as the way may
	// change while containers run, and their MTU cannot.
	cryptCost = 150
)

// BridgePrefix starts the names of all overlays' bridges.
const BridgePrefix = "ovb"

// Bridge is the name of a network's bridge.
func Bridge(vni uint32) string { return fmt.Sprintf("%s%d", BridgePrefix, vni) }

// VXLAN is the name of the port to the other nodes.
func VXLAN(vni uint32) string { return fmt.Sprintf("ovx%d", vni) }

// Ours says whether a device's name is one that overlays have.
func Ours(device string) bool {
	return strings.HasPrefix(device, BridgePrefix) || strings.HasPrefix(device, "ovx")
}

// Plan is one network's part beyond this node.
type Plan struct {
	VNI      uint32
	Subnet   netip.Prefix
	NodeIP   netip.Addr // invalid without one
	Underlay netip.Addr
	Port     int
	MTU      int
	// Via is the device that VXLAN is bound to; 0 is any.
	Via int
	// TAP says that the port is one that this process has opened (package crypt), and not VXLAN's.
	TAP bool
	// Remotes are the addresses on other nodes, by address; none means no port.
	Remotes []Remote
}

// Remote is one address on another node.
type Remote struct {
	Addr  netip.Addr
	Addr6 netip.Addr // invalid without IPv6
	Node  netip.Addr // its underlay
}

// New plans a network.
func New(n bus.Network, services []bus.Service, underlay string, port int) (Plan, error) {
	p := Plan{VNI: n.VNI, Port: port, MTU: n.MTU}
	var err error
	if p.Subnet, err = netip.ParsePrefix(n.Subnet); err != nil {
		return p, fmt.Errorf("network %s: bad subnet: %w", n.Name, err)
	}
	p.NodeIP, _ = netip.ParseAddr(n.NodeIP)
	if len(n.Peers) == 0 {
		return p, nil
	}
	if p.Underlay, err = netip.ParseAddr(underlay); err != nil {
		return p, fmt.Errorf("network %s: this node has no address for other nodes to reach: %w", n.Name, err)
	}
	nodes := map[string]netip.Addr{}
	for _, peer := range n.Peers {
		at, err := netip.ParseAddr(peer.Underlay)
		if err != nil {
			return p, fmt.Errorf("network %s: node %s has a bad address: %w", n.Name, peer.NodeID, err)
		}
		nodes[peer.NodeID] = at
		if a, err := netip.ParseAddr(peer.NodeIP); err == nil {
			p.Remotes = append(p.Remotes, Remote{Addr: a, Node: at})
		}
	}
	for _, s := range services {
		for _, t := range s.Tasks {
			at, remote := nodes[t.NodeID]
			if a, err := netip.ParseAddr(t.Addrs[n.ID]); err == nil && remote && a.Is4() {
				six, _ := netip.ParseAddr(t.Addrs6[n.ID])
				p.Remotes = append(p.Remotes, Remote{Addr: a, Addr6: six, Node: at})
			}
		}
	}
	slices.SortFunc(p.Remotes, func(a, b Remote) int { return a.Addr.Compare(b.Addr) })
	p.Remotes = slices.CompactFunc(p.Remotes, func(a, b Remote) bool { return a.Addr == b.Addr })
	return p, nil
}

// MTU is a network's: what was asked for, or what the underlay leaves.
func MTU(n bus.Network, underlay int) int {
	if n.MTU > 0 {
		return n.MTU
	}
	switch {
	case n.Encrypted:
		return underlay - cryptCost
	case slices.ContainsFunc(n.Peers, func(p bus.Peer) bool { return strings.Contains(p.Underlay, ":") }):
		return underlay - vxlanCost6
	}
	return underlay - vxlanCost
}

// MAC is the hardware address that every node gives an address of an overlay.
func MAC(a netip.Addr) net.HardwareAddr {
	return append(net.HardwareAddr{0x02, 0x42}, a.AsSlice()...)
}
