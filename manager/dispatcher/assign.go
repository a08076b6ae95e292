package dispatcher

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/internal/store"
	"orch/manager/allocator"
)

// set is what one node is to have, by resource. Values are those of
// bus.Assignments; secrets are named and filled in when sent.
type set map[bus.Resource]any

// taskSent is a task in a set: what a worker must be told again when it changes.
// The rest of a task is fixed once it is assigned.
type taskSent struct {
	id      string
	desired swarm.TaskState
}

// selfSent is what a node must know of itself and of the managers; it stands in every set.
type selfSent struct {
	role     swarm.NodeRole
	managers string // separated by commas
}

var self = bus.Resource{Kind: "self"}

// secretSent and configSent are immutable: an ID says it all.
type (
	secretSent string
	configSent string
)

// assigned is what a node is to have. A held task is still to run, whatever is desired.
func (w *world) assigned(node string, held func(task string) bool) set {
	out := set{self: selfSent{role: role(w.view.Node(node)), managers: w.managers}}
	nets := map[string]bool{}
	for _, t := range w.view.Tasks(store.OnNode(node)) {
		if !t.Assigned() {
			continue
		}
		desired := t.DesiredState
		if held(t.ID) {
			desired = swarm.TaskStateRunning
		}
		if !allocator.Attachment(t) { // its container is not the agent's
			out[bus.Resource{Kind: bus.KindTask, ID: t.ID}] = taskSent{t.ID, desired}
		}
		if !live(t) {
			continue
		}
		dependencies(out, t)
		for _, a := range t.NetworksAttachments {
			nets[a.Network.ID] = true
		}
	}
	publishes := w.publishing(nets)
	for id := range nets {
		if n := w.network(id, node); n != nil {
			out[bus.Resource{Kind: bus.KindNetwork, ID: id}] = n
		}
	}
	for id, s := range w.services {
		if s != nil && (publishes && len(s.Ports) > 0 || meets(s, nets)) {
			out[bus.Resource{Kind: bus.KindService, ID: id}] = s
		}
	}
	return out
}

// role is what a node is to be: a manager stays one until it is out of the consensus.
func role(n *store.Node) swarm.NodeRole {
	if n != nil && (n.Spec.Role == swarm.NodeRoleManager || n.Server != "") {
		return swarm.NodeRoleManager
	}
	return swarm.NodeRoleWorker
}

func dependencies(out set, t *store.Task) {
	c := t.Spec.ContainerSpec
	if c == nil {
		return
	}
	for _, ref := range c.Secrets {
		out[bus.Resource{Kind: bus.KindSecret, ID: ref.SecretID}] = secretSent(ref.SecretID)
	}
	for _, ref := range c.Configs {
		out[bus.Resource{Kind: bus.KindConfig, ID: ref.ConfigID}] = configSent(ref.ConfigID)
	}
}

// publishing says whether a port is published anywhere; every node then needs
// the ingress network, to reach the tasks behind it.
func (w *world) publishing(nets map[string]bool) bool {
	for _, s := range w.services {
		if s == nil || len(s.Ports) == 0 {
			continue
		}
		for _, n := range w.view.Networks(store.All()) {
			if n.Spec.Ingress {
				nets[n.ID] = true
			}
		}
		return true
	}
	return false
}

func meets(s *bus.Service, nets map[string]bool) bool {
	for net := range reach(s) {
		if nets[net] {
			return true
		}
	}
	return false
}

// network is a network as one node needs it, nil if the node cannot have it
// yet: its own address on it is still to be allocated.
func (w *world) network(id, node string) *bus.Network {
	n, self := w.view.Network(id), w.view.Node(node)
	if n == nil || self == nil || n.IPAMOptions == nil || len(n.IPAMOptions.Configs) == 0 || self.NetworkAddrs[id] == "" {
		return nil
	}
	out := &bus.Network{
		ID: id, Name: n.Spec.Name, Labels: n.Spec.Labels,
		Subnet: n.IPAMOptions.Configs[0].Subnet, Gateway: n.IPAMOptions.Configs[0].Gateway,
		NodeIP: self.NetworkAddrs[id], Internal: n.Spec.Internal, Attachable: n.Spec.Attachable, Ingress: n.Spec.Ingress,
	}
	for _, c := range n.IPAMOptions.Configs[1:] {
		if strings.Contains(c.Subnet, ":") {
			out.Subnet6, out.Gateway6 = c.Subnet, c.Gateway
		}
	}
	if d := n.Spec.DriverConfiguration; d != nil {
		out.Options = d.Options
		out.Encrypted = store.Encrypted(n.Spec)
		out.MTU, _ = strconv.Atoi(d.Options[allocator.MTUOption])
	}
	out.VNI = allocator.VXLAN(n)
	if out.Encrypted {
		out.Encryption = w.encryption()
	}
	for _, other := range w.view.Nodes(store.All()) {
		// A published port leads from every node to a task, so all of them are on the ingress network.
		on := n.Spec.Ingress || w.onNet[id][other.ID] > 0
		if other.ID != node && on && other.NetworkAddrs[id] != "" {
			out.Peers = append(out.Peers, bus.Peer{NodeID: other.ID, Underlay: other.Status.Addr, NodeIP: other.NetworkAddrs[id], WireGuard: other.WireGuard})
		}
	}
	return out
}

// difference is what a node that has old must be told to have now.
func difference(old, now set) (changed, removed []bus.Resource) {
	for r, v := range now {
		if before, ok := old[r]; !ok || !same(before, v) {
			changed = append(changed, r)
		}
	}
	for r := range old {
		if _, ok := now[r]; !ok {
			removed = append(removed, r)
		}
	}
	return changed, removed
}

func same(a, b any) bool {
	if n, ok := a.(*bus.Network); ok {
		return reflect.DeepEqual(n, b)
	}
	return a == b
}

// message puts resources of a set into words for the worker.
func (d *Dispatcher) message(now set, changed []bus.Resource) bus.Assignments {
	var a bus.Assignments
	v := d.world.view
	for _, r := range changed {
		switch value := now[r].(type) {
		case selfSent:
			a.Role = value.role
			if value.managers != "" {
				a.Managers = strings.Split(value.managers, ",")
			}
		case taskSent:
			a.Tasks = append(a.Tasks, d.task(v.Task(value.id), value.desired))
		case secretSent:
			if s := v.Secret(r.ID); s != nil {
				data, err := d.OpenSecret(s)
				if err != nil {
					d.Log.Error("a secret cannot be unsealed", "secret", s.Spec.Name, "error", err)
					continue
				}
				a.Secrets = append(a.Secrets, bus.Secret{ID: s.ID, Name: s.Spec.Name, Data: data, Templating: s.Spec.Templating != nil})
			}
		case configSent:
			if c := v.Config(r.ID); c != nil {
				a.Configs = append(a.Configs, bus.Config{ID: c.ID, Name: c.Spec.Name, Data: c.Spec.Data, Templating: c.Spec.Templating != nil})
			}
		case *bus.Network:
			a.Networks = append(a.Networks, d.withKeys(*value))
		case *bus.Service:
			a.Services = append(a.Services, *value)
		}
	}
	return a
}

func (d *Dispatcher) task(t *store.Task, desired swarm.TaskState) bus.Task {
	out := bus.Task{Task: t.Task, ServiceName: t.ServiceName, ServiceLabels: t.ServiceLabels, Name: containerName(t), Endpoint: t.Endpoint}
	out.DesiredState = desired
	if c := d.world.view.Cluster(); out.Spec.LogDriver == nil && c != nil {
		out.Spec.LogDriver = c.Spec.TaskDefaults.LogDriver
	}
	if len(t.PullAuth) > 0 {
		auth, err := d.OpenAuth(t)
		if err != nil {
			d.Log.Error("a registry's credentials cannot be unsealed", "task", t.ID, "error", err)
		}
		out.PullAuth = auth
	}
	return out
}
