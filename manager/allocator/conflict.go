package allocator

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// PortConflict says, in Swarm's words, which published port of the spec another
// service has already. Several services may publish the same port in host mode:
// which nodes can have them is for the scheduler.
func PortConflict(v *store.View, spec *swarm.EndpointSpec, serviceID string) error {
	return portConflict(v, spec, serviceID, func(s *store.Service) []swarm.PortConfig {
		if s.Spec.EndpointSpec == nil {
			return s.Endpoint.Ports
		}
		return slices.Concat(s.Spec.EndpointSpec.Ports, s.Endpoint.Ports)
	})
}

func portConflict(v *store.View, spec *swarm.EndpointSpec, serviceID string, portsOf func(*store.Service) []swarm.PortConfig) error {
	wanted := map[portKey]swarm.PortConfigPublishMode{}
	if spec != nil {
		for _, p := range spec.Ports {
			// Ingress is in the way of more.
			if p.PublishedPort != 0 && (ingressPort(p) || wanted[keyOf(p)] == "") {
				wanted[keyOf(p)] = modeOf(p)
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	for _, s := range v.Services(store.All()) {
		if s.ID == serviceID {
			continue
		}
		for _, p := range portsOf(s) {
			if err := inUse(p, wanted, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func modeOf(p swarm.PortConfig) swarm.PortConfigPublishMode {
	if ingressPort(p) {
		return swarm.PortConfigPublishModeIngress
	}
	return swarm.PortConfigPublishModeHost
}

func inUse(p swarm.PortConfig, wanted map[portKey]swarm.PortConfigPublishMode, s *store.Service) error {
	mode := wanted[keyOf(p)]
	switch {
	case p.PublishedPort == 0 || mode == "":
		return nil
	case ingressPort(p):
		return fmt.Errorf("port '%d' is already in use by service '%s' (%s) as an ingress port", p.PublishedPort, s.Spec.Name, s.ID)
	case mode == swarm.PortConfigPublishModeIngress:
		return fmt.Errorf("port '%d' is already in use by service '%s' (%s) as a host-published port", p.PublishedPort, s.Spec.Name, s.ID)
	default:
		return nil
	}
}

// SubnetConflict says whether a subnet that the spec of a new network asks for
// overlaps one of another network.
func SubnetConflict(v *store.View, spec *swarm.NetworkSpec) error {
	asked := subnets(&store.Network{Network: swarm.Network{Spec: *spec}})
	for _, n := range v.Networks(store.All()) {
		for _, have := range subnets(n) {
			for _, want := range asked {
				if have.Overlaps(want) {
					return errors.New("invalid pool request: Pool overlaps with other one on this address space")
				}
			}
		}
	}
	return nil
}

// Subnet is a network's IPv4 subnet and gateway; neither is valid before it is
// allocated.
func Subnet(n *store.Network) (subnet netip.Prefix, gateway netip.Addr) {
	if n.IPAMOptions == nil {
		return subnet, gateway
	}
	for _, c := range n.IPAMOptions.Configs {
		if p, err := netip.ParsePrefix(c.Subnet); err == nil && p.Addr().Is4() {
			gateway, _ = netip.ParseAddr(c.Gateway)
			return p, gateway
		}
	}
	return subnet, gateway
}
