// Package dns answers the names of services to the tasks of a node, behind Docker's own resolver, and forwards the rest.
//
// A question is told apart by its source address: a task sees the names of its own networks and no others. A Zone is a pure
// function of the state and is replaced as a whole. Nothing is to be cached: every answer's time to live is zero.
package dns

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/worker/network/vip"
)

// Zone is all names of the networks of a node.
type Zone struct {
	networks []network
	reverse  map[netip.Addr]string
}

type network struct {
	id, name string
	subnet   netip.Prefix
	subnet6  netip.Prefix // invalid without IPv6
	gateway  netip.Addr
	internal bool
	services map[string]*entry // by name and alias, in lower case
	tasks    map[string]*entry
}

type entry struct {
	vip      netip.Addr // invalid for dnsrr
	backends []netip.Addr
	// backends6 are the backends by IPv6. A service has no address of its own there: AAAA is always its tasks.
	backends6 []netip.Addr
}

// NewZone is the zone of a state. Without service addresses every service resolves to its tasks.
func NewZone(networks []bus.Network, services []bus.Service, addresses bool) *Zone {
	z := &Zone{reverse: map[netip.Addr]string{}}
	for _, n := range networks {
		net := network{
			id: n.ID, name: strings.ToLower(n.Name), internal: n.Internal, services: map[string]*entry{}, tasks: map[string]*entry{},
		}
		net.subnet, _ = netip.ParsePrefix(n.Subnet)
		net.gateway, _ = netip.ParseAddr(n.Gateway)
		net.subnet6, _ = netip.ParsePrefix(n.Subnet6)
		for _, s := range services {
			z.add(&net, s, addresses)
		}
		z.networks = append(z.networks, net)
	}
	return z
}

func (z *Zone) add(n *network, s bus.Service, addresses bool) {
	e := &entry{backends: vip.Addrs(n.id, s.Backends), backends6: addrs6(n.id, s.Backends)}
	if a, err := netip.ParseAddr(s.VIPs[n.id]); err == nil && addresses && s.Mode != swarm.ResolutionModeDNSRR {
		e.vip = a
		z.reverse[a] = s.Name + "." + n.name
	}
	if !e.vip.IsValid() && len(e.backends) == 0 && s.VIPs[n.id] == "" && !on(n.id, s) {
		return
	}
	n.services[strings.ToLower(s.Name)] = e
	for _, alias := range s.Aliases[n.id] {
		n.alias(strings.ToLower(alias), e)
	}
	for _, t := range s.Tasks {
		a, err := netip.ParseAddr(t.Addrs[n.id])
		if err != nil {
			continue
		}
		name := taskName(s.Name, t)
		own := &entry{backends: []netip.Addr{a}}
		z.reverse[a] = name + "." + n.name
		if six, err := netip.ParseAddr(t.Addrs6[n.id]); err == nil {
			own.backends6 = []netip.Addr{six}
			z.reverse[six] = name + "." + n.name
		}
		n.tasks[strings.ToLower(name)] = own
	}
}

// alias adds a name that several services may share: it then resolves to the tasks of all.
func (n *network) alias(name string, e *entry) {
	had, ok := n.services[name]
	if !ok {
		n.services[name] = e
		return
	}
	n.services[name] = &entry{backends: slices.Concat(had.backends, e.backends), backends6: slices.Concat(had.backends6, e.backends6)}
}

// addrs6 are the backends' IPv6 addresses on a network, in order.
func addrs6(network string, backends []bus.Backend) (out []netip.Addr) {
	for _, b := range backends {
		if a, err := netip.ParseAddr(b.Addrs6[network]); err == nil {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

func on(id string, s bus.Service) bool {
	return slices.ContainsFunc(s.Tasks, func(t bus.Backend) bool { return t.Addrs[id] != "" })
}

// taskName is the name of a task's container.
func taskName(service string, t bus.Backend) string {
	if t.Slot == 0 {
		return service + "." + t.NodeID + "." + t.TaskID
	}
	return service + "." + strconv.Itoa(t.Slot) + "." + t.TaskID
}

// answer is what a name means to an asker.
type answer struct {
	found bool
	vip   netip.Addr
	addrs []netip.Addr // the backends, or the task itself
	six   []netip.Addr // the same by IPv6
}

// resolve finds a name (without its final dot) on the given networks; qualified names may end in a network's name.
func (z *Zone) resolve(name string, networks []string) answer {
	name = strings.ToLower(name)
	for i := range z.networks {
		n := &z.networks[i]
		if !slices.Contains(networks, n.id) {
			continue
		}
		if a := n.resolve(name); a.found {
			return a
		}
		if short, ok := strings.CutSuffix(name, "."+n.name); ok {
			if a := n.resolve(short); a.found {
				return a
			}
		}
	}
	return answer{}
}

func (n *network) resolve(name string) answer {
	if e, ok := n.services[name]; ok {
		return answer{found: true, vip: e.vip, addrs: e.backends, six: e.backends6}
	}
	if service, ok := strings.CutPrefix(name, "tasks."); ok {
		if e, ok := n.services[service]; ok {
			return answer{found: true, addrs: e.backends, six: e.backends6}
		}
	}
	if e, ok := n.tasks[name]; ok {
		return answer{found: true, addrs: e.backends, six: e.backends6}
	}
	return answer{}
}

// at is the network that an address is on.
func (z *Zone) at(a netip.Addr) *network {
	for i := range z.networks {
		if z.networks[i].subnet.Contains(a) || z.networks[i].subnet6.Contains(a) {
			return &z.networks[i]
		}
	}
	return nil
}

// closed says whether none of the networks leads outside.
func (z *Zone) closed(networks []string) bool {
	for i := range z.networks {
		if !z.networks[i].internal && slices.Contains(networks, z.networks[i].id) {
			return false
		}
	}
	return true
}
