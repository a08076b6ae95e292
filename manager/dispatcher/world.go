package dispatcher

import (
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/internal/store"
	"orch/manager/allocator"
)

// world is what workers need to know about the cluster, derived from a view and
// kept up to date by its changes. It holds nothing that cannot be derived again.
type world struct {
	view *store.View
	// managers are the first ports of all managers, separated by commas.
	managers string
	// services by ID. A service is replaced, never changed: pointers compare.
	services map[string]*bus.Service
	// onNet counts the live tasks of every node on every network.
	onNet map[string]map[string]int
}

func newWorld(v *store.View) *world {
	w := &world{view: v, managers: strings.Join(store.ManagerAddrs(v), ","), services: map[string]*bus.Service{}, onNet: map[string]map[string]int{}}
	for _, t := range v.Tasks(store.All()) {
		w.count(t, 1)
		w.services[groupOf(t)] = nil
	}
	for _, s := range v.Services(store.All()) {
		w.services[s.ID] = nil
	}
	for id := range w.services {
		w.services[id] = endpoints(v, id)
	}
	return w
}

// touched is what a set of changes concerns: nodes by ID, or every node.
type touched struct {
	nodes    map[string]bool
	networks map[string]bool
	all      bool
}

// update moves the world to a new view and says who has to be told.
func (w *world) update(v *store.View, changes []store.Change) touched {
	w.view = v
	t := touched{nodes: map[string]bool{}, networks: map[string]bool{}}
	services := map[string]bool{}
	for _, c := range changes {
		switch c.Kind {
		case store.KindTask:
			w.updateTask(c, services, &t)
		case store.KindService:
			services[c.ID()] = true
		case store.KindNode:
			t.all = t.all || addressChanged(c)
			if roleChanged(c) {
				w.managers = strings.Join(store.ManagerAddrs(v), ",")
				t.all = true
			}
		case store.KindNetwork:
			t.networks[c.ID()] = true
		case store.KindCluster:
			t.all = t.all || keysChanged(c)
		}
	}
	for id := range services {
		w.updateService(id, &t)
	}
	return t
}

func (w *world) updateTask(c store.Change, services map[string]bool, t *touched) {
	for _, side := range []struct {
		o     store.Object
		delta int
	}{{c.Old, -1}, {c.New, +1}} {
		if side.o == nil {
			continue
		}
		task := side.o.(*store.Task)
		services[groupOf(task)] = true
		if task.NodeID != "" {
			t.nodes[task.NodeID] = true
		}
		for _, net := range w.count(task, side.delta) {
			t.networks[net] = true
		}
	}
}

// count adds a task to the nodes of its networks, or takes it away, and
// returns the networks that a node has joined or left by it.
func (w *world) count(t *store.Task, delta int) (moved []string) {
	if !live(t) {
		return nil
	}
	for _, a := range t.NetworksAttachments {
		id := a.Network.ID
		if w.onNet[id] == nil {
			w.onNet[id] = map[string]int{}
		}
		before := w.onNet[id][t.NodeID]
		w.onNet[id][t.NodeID] += delta
		if w.onNet[id][t.NodeID] == 0 {
			delete(w.onNet[id], t.NodeID)
		}
		if before == 0 || before+delta == 0 {
			moved = append(moved, id)
		}
	}
	return moved
}

func (w *world) updateService(id string, t *touched) {
	old, now := w.services[id], endpoints(w.view, id)
	if reflect.DeepEqual(old, now) {
		return
	}
	if now == nil {
		delete(w.services, id)
	} else {
		w.services[id] = now
	}
	for _, s := range []*bus.Service{old, now} {
		if s == nil {
			continue
		}
		t.all = t.all || len(s.Ports) > 0
		for net := range reach(s) {
			t.networks[net] = true
		}
	}
}

// addressChanged says whether a node's change concerns the others.
func addressChanged(c store.Change) bool {
	if c.Old == nil || c.New == nil {
		return true
	}
	old, now := c.Old.(*store.Node), c.New.(*store.Node)
	return old.Status.Addr != now.Status.Addr || old.WireGuard != now.WireGuard || !slices.Equal(old.Encryption, now.Encryption) || !reflect.DeepEqual(old.NetworkAddrs, now.NetworkAddrs)
}

// roleChanged says whether a node has become a manager, or a worker, or is about to.
func roleChanged(c store.Change) bool {
	var old, now store.Node
	if c.Old != nil {
		old = *c.Old.(*store.Node)
	}
	if c.New != nil {
		now = *c.New.(*store.Node)
	}
	return old.Spec.Role != now.Spec.Role || old.Server != now.Server || !reflect.DeepEqual(old.ManagerStatus, now.ManagerStatus)
}

// live says that a task has, or is about to have, a container that runs.
func live(t *store.Task) bool {
	return t.Assigned() && !t.Ended()
}

// inRotation says that names, VIPs and ports lead to a task: it is healthy and
// meant to stay.
func inRotation(t *store.Task) bool {
	return t.Status.State == swarm.TaskStateRunning && t.DesiredState == swarm.TaskStateRunning && !t.Standby
}

// endpoints is where a service's names, VIPs and ports lead, nil if nowhere. A
// service that is gone keeps its tasks' addresses until they have ended.
func endpoints(v *store.View, id string) *bus.Service {
	if t := v.Task(id); t != nil && allocator.Attachment(t) {
		return attached(t)
	}
	out := &bus.Service{ID: id}
	for _, t := range v.Tasks(store.OfService(id)) {
		if !live(t) || len(t.NetworksAttachments) == 0 {
			continue
		}
		b := backend(t)
		out.Tasks = append(out.Tasks, b)
		if inRotation(t) {
			out.Backends = append(out.Backends, b)
		}
		out.Name = t.ServiceName
	}
	s := v.Service(id)
	if s == nil {
		if len(out.Tasks) == 0 {
			return nil
		}
		return out
	}
	describe(out, s)
	if len(out.VIPs) == 0 && len(out.Tasks) == 0 && len(out.Ports) == 0 {
		return nil
	}
	return out
}

// groupOf is what a task's names and addresses are sent as part of: its service, or itself if it has none.
func groupOf(t *store.Task) string {
	if allocator.Attachment(t) {
		return t.ID
	}
	return t.ServiceID
}

// attached is a container that is no task, as a service of one: others find it by its name and aliases while it runs.
func attached(t *store.Task) *bus.Service {
	b := backend(t)
	out := &bus.Service{ID: t.ID, Name: t.ServiceName, Mode: swarm.ResolutionModeDNSRR, Tasks: []bus.Backend{b}}
	for _, n := range t.Spec.Networks {
		if len(n.Aliases) > 0 {
			out.Aliases = put(out.Aliases, n.Target, n.Aliases)
		}
	}
	if inRotation(t) {
		out.Backends = out.Tasks
	}
	return out
}

func describe(out *bus.Service, s *store.Service) {
	out.Name = s.Spec.Name
	if e := s.Spec.EndpointSpec; e != nil {
		out.Mode = e.Mode
	}
	for _, vip := range s.Endpoint.VirtualIPs {
		if p, err := netip.ParsePrefix(vip.Addr); err == nil {
			out.VIPs = put(out.VIPs, vip.NetworkID, p.Addr().String())
		}
	}
	for _, n := range networksOf(s) {
		if len(n.Aliases) > 0 {
			out.Aliases = put(out.Aliases, n.Target, n.Aliases)
		}
	}
	for _, p := range s.Endpoint.Ports {
		if p.PublishMode != swarm.PortConfigPublishModeHost && p.PublishedPort != 0 {
			out.Ports = append(out.Ports, p)
		}
	}
	for k, v := range s.Spec.Labels {
		if strings.HasPrefix(k, "orch.") {
			out.Labels = put(out.Labels, k, v)
		}
	}
}

// networksOf is where a spec names its networks: of old in the spec itself.
func networksOf(s *store.Service) []swarm.NetworkAttachmentConfig {
	if len(s.Spec.TaskTemplate.Networks) > 0 {
		return s.Spec.TaskTemplate.Networks
	}
	//lint:ignore SA1019 old clients still send it
	return s.Spec.Networks
}

func put[V any](m map[string]V, k string, v V) map[string]V {
	if m == nil {
		m = map[string]V{}
	}
	m[k] = v
	return m
}

// backend is a task as others meet it.
func backend(t *store.Task) bus.Backend {
	b := bus.Backend{TaskID: t.ID, NodeID: t.NodeID, Slot: t.Slot, Addrs: map[string]string{}}
	for _, a := range t.NetworksAttachments {
		for _, addr := range a.Addresses {
			switch p, err := netip.ParsePrefix(addr); {
			case err != nil:
			case p.Addr().Is4():
				b.Addrs[a.Network.ID] = p.Addr().String()
			default:
				b.Addrs6 = put(b.Addrs6, a.Network.ID, p.Addr().String())
			}
		}
	}
	return b
}

// reach is the networks on which a service can be met.
func reach(s *bus.Service) map[string]bool {
	nets := map[string]bool{}
	for net := range s.VIPs {
		nets[net] = true
	}
	for _, b := range s.Tasks {
		for net := range b.Addrs {
			nets[net] = true
		}
	}
	return nets
}

// containerName is what Swarm calls a task's container: service.slot.task, with
// the node in place of the slot of a task that has none.
func containerName(t *store.Task) string {
	slot := t.NodeID
	if t.Slot != 0 {
		slot = strconv.Itoa(t.Slot)
	}
	return t.ServiceName + "." + slot + "." + t.ID
}
