// Package ingress listens on a node for the ports that services publish, and carries what comes to a task. A connection that one
// task refuses is tried on another; a task that leaves rotation gets no new connections and keeps those it has.
//
// What a port leads to is a pure function of the services. The listener also holds the port: if a stranger has it, that
// is an error of this port on this node and of nothing else.
package ingress

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/worker/network/vip"
)

// proxyLabel asks for the client's address in front of each TCP connection.
const proxyLabel = "orch.ingress.proxy_protocol"

// Port is one published port.
type Port struct {
	Protocol swarm.PortConfigProtocol
	Number   uint16
}

func (p Port) String() string { return fmt.Sprintf("%d/%s", p.Number, p.Protocol) }

// Target is what a port leads to.
type Target struct {
	Backends []netip.AddrPort
	Sticky   bool
	Proxy    bool // PROXY protocol, version 2
}

// Targets are the ports of the services, by way of the node's networks: the ingress network where a task is on it.
func Targets(networks []bus.Network, services []bus.Service) map[Port]Target {
	order := slices.Clone(networks)
	slices.SortStableFunc(order, func(a, b bus.Network) int { return rank(a) - rank(b) })
	out := map[Port]Target{}
	for _, s := range services {
		for _, p := range s.Ports {
			if p.PublishMode == swarm.PortConfigPublishModeHost || p.PublishedPort == 0 {
				continue
			}
			protocol := p.Protocol
			if protocol == "" {
				protocol = swarm.PortConfigProtocolTCP
			}
			t := Target{Sticky: vip.Sticky(s), Proxy: s.Labels[proxyLabel] == "v2"}
			for _, b := range s.Backends {
				if a, ok := reach(order, b); ok {
					t.Backends = append(t.Backends, netip.AddrPortFrom(a, uint16(p.TargetPort)))
				}
			}
			slices.SortFunc(t.Backends, netip.AddrPort.Compare)
			out[Port{protocol, uint16(p.PublishedPort)}] = t
		}
	}
	return out
}

func rank(n bus.Network) int {
	if n.Ingress {
		return 0
	}
	return 1
}

func reach(networks []bus.Network, b bus.Backend) (netip.Addr, bool) {
	for _, n := range networks {
		if a, err := netip.ParseAddr(b.Addrs[n.ID]); err == nil {
			return a, true
		}
	}
	return netip.Addr{}, false
}
