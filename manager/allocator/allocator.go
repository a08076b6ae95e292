package allocator

import (
	"fmt"
	"maps"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// Allocate gives networks, then these services (IDs) and the services of new
// tasks, and then the new tasks what they need. A task that cannot have it stays
// new and says why; it is tried again in every later call.
func Allocate(tx *store.Tx, services []string) {
	a := begin(tx)
	a.networks()
	var fresh []*store.Task
	due := map[string]bool{}
	for _, id := range services {
		due[id] = true
	}
	for _, t := range tx.Tasks(store.Waiting()) {
		if t.Status.State == swarm.TaskStateNew {
			fresh = append(fresh, t)
			due[t.ServiceID] = true
		}
	}
	failed := map[string]error{}
	for _, id := range slices.Sorted(maps.Keys(due)) {
		if s := tx.Service(id); s != nil {
			failed[id] = a.service(s)
		}
	}
	for _, t := range fresh {
		a.task(t, failed[t.ServiceID])
	}
	a.end()
}

// AttachNodes gives nodes their own address on the ingress network and on every
// network that they now have a task on, and takes back those of networks that
// they have left. It runs after the scheduler, in the same transaction.
func AttachNodes(tx *store.Tx) {
	a := begin(tx)
	a.nodes()
	a.end()
}

// allocation is one run of the allocator.
type allocation struct {
	tx      *store.Tx
	pools   map[poolKey]*pool // read when first needed
	ingress *store.Network    // or nil
}

func begin(tx *store.Tx) *allocation {
	return &allocation{tx: tx, pools: map[poolKey]*pool{}, ingress: Ingress(&tx.View)}
}

// end remembers where the search for addresses goes on.
func (a *allocation) end() {
	for key, p := range a.pools {
		n := a.tx.Network(key.network)
		if n == nil || !p.moved {
			continue
		}
		c := *n
		if key.six {
			c.NextAddr6 = p.next.String()
		} else {
			c.NextAddr = p.next.String()
		}
		if c.NextAddr != n.NextAddr || c.NextAddr6 != n.NextAddr6 {
			a.tx.Put(&c)
		}
	}
}

// Ingress is the ingress network, or nil.
func Ingress(v *store.View) *store.Network {
	for _, n := range v.Networks(store.All()) {
		if n.Spec.Ingress {
			return n
		}
	}
	return nil
}

// NeedsIngress says whether a service publishes a port on every node.
func NeedsIngress(spec *swarm.EndpointSpec) bool {
	return spec != nil && slices.ContainsFunc(spec.Ports, ingressPort)
}

func ingressPort(p swarm.PortConfig) bool {
	return p.PublishMode != swarm.PortConfigPublishModeHost
}

// attachments are the networks of a task with these specs, ingress first.
func (a *allocation) attachments(task swarm.TaskSpec, endpoint *swarm.EndpointSpec) ([]*store.Network, error) {
	var all []*store.Network
	if NeedsIngress(endpoint) {
		if a.ingress == nil {
			return nil, fmt.Errorf("ingress network is missing")
		}
		all = append(all, a.ingress)
	}
	for _, config := range task.Networks {
		n := a.tx.Network(config.Target)
		if n == nil {
			return nil, fmt.Errorf("network %s not found", config.Target)
		}
		all = append(all, n)
	}
	for _, n := range all {
		if Managed(n) && !allocated(n) {
			return nil, errNoSubnet
		}
	}
	return all, nil
}
