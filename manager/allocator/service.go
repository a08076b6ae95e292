package allocator

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// Ports for which a service names no number are given one of these, as in Swarm.
const (
	firstPort = 30000
	lastPort  = 32767
)

// service brings a service's endpoint to what its spec asks for; what it has and
// still needs it keeps.
func (a *allocation) service(s *store.Service) error {
	want, err := a.endpoint(s)
	if err != nil {
		return err
	}
	if reflect.DeepEqual(want, s.Endpoint) {
		return nil
	}
	c := *s
	c.Endpoint = want
	a.tx.Put(&c)
	return nil
}

// endpoint is empty for a service that has neither ports nor virtual IPs, as in Swarm.
func (a *allocation) endpoint(s *store.Service) (e swarm.Endpoint, err error) {
	if (s.Spec.EndpointSpec == nil || len(s.Spec.EndpointSpec.Ports) == 0) &&
		(len(s.Spec.TaskTemplate.Networks) == 0 || s.Spec.EndpointSpec != nil && s.Spec.EndpointSpec.Mode == swarm.ResolutionModeDNSRR) {
		return e, nil
	}
	if s.Spec.EndpointSpec != nil {
		e.Spec = *s.Spec.EndpointSpec
	}
	if e.Ports, err = a.ports(s); err != nil {
		return e, err
	}
	if e.Spec.Mode == swarm.ResolutionModeDNSRR {
		return e, nil
	}
	networks, err := a.attachments(s.Spec.TaskTemplate, s.Spec.EndpointSpec)
	if err != nil {
		return e, err
	}
	for _, n := range networks {
		if !Managed(n) {
			continue
		}
		vip := swarm.EndpointVirtualIP{NetworkID: n.ID, Addr: heldVIP(s, n.ID)}
		if vip.Addr == "" {
			addr, err := a.pool(n).allocate()
			if err != nil {
				return e, fmt.Errorf("%w while allocating VIP", err)
			}
			vip.Addr = addr.String()
		}
		e.VirtualIPs = append(e.VirtualIPs, vip)
	}
	return e, nil
}

func heldVIP(s *store.Service, network string) string {
	for _, vip := range s.Endpoint.VirtualIPs {
		if vip.NetworkID == network {
			return vip.Addr
		}
	}
	return ""
}

// portKey is what may be published once in ingress mode.
type portKey struct {
	protocol swarm.PortConfigProtocol
	number   uint32
}

func keyOf(p swarm.PortConfig) portKey {
	return portKey{cmp.Or(p.Protocol, swarm.PortConfigProtocolTCP), p.PublishedPort}
}

// ports are the spec's with numbers for those that have none.
func (a *allocation) ports(s *store.Service) ([]swarm.PortConfig, error) {
	if s.Spec.EndpointSpec == nil || len(s.Spec.EndpointSpec.Ports) == 0 {
		return nil, nil
	}
	if keepsPorts(s) {
		return s.Endpoint.Ports, nil
	}
	// Of two services that were created at once with the same port, the one
	// that is allocated first has it.
	given := func(s *store.Service) []swarm.PortConfig { return s.Endpoint.Ports }
	if err := portConflict(&a.tx.View, s.Spec.EndpointSpec, s.ID, given); err != nil {
		return nil, err
	}
	taken := a.takenPorts(s)
	ports := make([]swarm.PortConfig, len(s.Spec.EndpointSpec.Ports))
	for i, p := range inOrder(s) {
		if ingressPort(p) && p.PublishedPort == 0 {
			if p.PublishedPort = heldPort(s, p); p.PublishedPort == 0 {
				p.PublishedPort = freePort(taken, p)
			}
			if p.PublishedPort == 0 {
				return nil, fmt.Errorf("dynamic port space is exhausted")
			}
			taken[keyOf(p)] = true
		}
		ports[i] = p
	}
	return ports, nil
}

// keepsPorts says that the endpoint's ports are already what the spec asks for.
func keepsPorts(s *store.Service) bool {
	want, have := s.Spec.EndpointSpec.Ports, s.Endpoint.Ports
	if len(want) != len(have) {
		return false
	}
	want = inOrder(s)
	for i, p := range have {
		if want[i].PublishedPort == 0 {
			if ingressPort(p) && p.PublishedPort == 0 {
				return false
			}
			p.PublishedPort = 0
		}
		if p != want[i] {
			return false
		}
	}
	return true
}

// inOrder are the spec's ports as the endpoint lists them: a new service's as they
// are, after an update those without a number last.
func inOrder(s *store.Service) []swarm.PortConfig {
	ports := slices.Clone(s.Spec.EndpointSpec.Ports)
	if len(s.Endpoint.Ports) == 0 {
		return ports
	}
	automatic := func(p swarm.PortConfig) int {
		if ingressPort(p) && p.PublishedPort == 0 {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(ports, func(x, y swarm.PortConfig) int { return automatic(x) - automatic(y) })
	return ports
}

// heldPort is the number that the service was given for the same port before.
func heldPort(s *store.Service, p swarm.PortConfig) uint32 {
	for _, have := range s.Endpoint.Ports {
		number := have.PublishedPort
		have.PublishedPort = 0
		if have == p && number >= firstPort && number <= lastPort {
			return number
		}
	}
	return 0
}

// takenPorts are the published ports of other services, and those that the
// service itself has or asks for by number.
func (a *allocation) takenPorts(s *store.Service) map[portKey]bool {
	taken := map[portKey]bool{}
	for _, other := range a.tx.Services(store.All()) {
		for _, p := range other.Endpoint.Ports {
			taken[keyOf(p)] = true
		}
		if other.Spec.EndpointSpec != nil {
			for _, p := range other.Spec.EndpointSpec.Ports {
				taken[keyOf(p)] = true
			}
		}
	}
	return taken
}

func freePort(taken map[portKey]bool, p swarm.PortConfig) uint32 {
	for p.PublishedPort = firstPort; p.PublishedPort <= lastPort; p.PublishedPort++ {
		if !taken[keyOf(p)] {
			return p.PublishedPort
		}
	}
	return 0
}
