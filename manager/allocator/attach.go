package allocator

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/identity"
	"orch/internal/store"
)

// pendingFor is how long a place on a network is kept for a container that nobody has seen yet: it is being made.
const pendingFor = 2 * time.Minute

// Ask is what a container that is no task wants of a network.
type Ask struct {
	Node      string
	Network   string // ID or name
	Container string
	Addresses []string // asked for; any without
	Aliases   []string
}

// Held is a place that a container of a node has on a network.
type Held struct {
	Network   string
	Address   string
	Address6  string
	Container string
	Name      string
	Aliases   []string
	Running   bool
}

// Attachment says that a task stands for a container which is no task: it holds the container's place on one network.
func Attachment(t *store.Task) bool { return t.Spec.Runtime == swarm.RuntimeNetworkAttachment }

// FindNetwork is the network of that ID or name, or nil.
func FindNetwork(v *store.View, ref string) *store.Network {
	if n := v.Network(ref); n != nil {
		return n
	}
	for _, n := range v.Networks(store.Name(ref)) {
		return n
	}
	return nil
}

// Attach gives a container of a node a place on a network. It fails in the words of Swarm's.
func Attach(tx *store.Tx, r Ask) (*store.Task, error) {
	n := FindNetwork(&tx.View, r.Network)
	switch {
	case n == nil || !Managed(n):
		return nil, fmt.Errorf("network %s not found", r.Network)
	case n.Spec.Ingress || !n.Spec.Attachable:
		return nil, fmt.Errorf("rpc error: code = PermissionDenied desc = network %s not manually attachable", n.Spec.Name)
	case !allocated(n):
		return nil, errNoSubnet
	}
	if on := tx.Node(r.Node); store.Encrypted(n.Spec) && on != nil && len(on.Encryption) == 0 {
		return nil, fmt.Errorf("network %s is encrypted, and the node cannot encrypt overlay traffic", n.Spec.Name)
	}
	var asked []netip.Addr
	for _, s := range r.Addresses {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("invalid IP address: %s", s)
		}
		asked = append(asked, addr)
	}
	a := begin(tx)
	defer a.end()
	addrs, err := a.addresses(n, asked...)
	if err != nil {
		return nil, err
	}
	t := attachment(tx, r.Node, n, addrs)
	name(t, r.Container, r.Container, r.Aliases)
	tx.Put(t)
	return t, nil
}

func attachment(tx *store.Tx, node string, n *store.Network, addrs []string) *store.Task {
	t := &store.Task{AppliedAt: tx.Now()}
	t.ID, t.NodeID = identity.NewID(), node
	t.Spec.Runtime = swarm.RuntimeNetworkAttachment
	t.Spec.Networks = []swarm.NetworkAttachmentConfig{{Target: n.ID}}
	t.NetworksAttachments = []swarm.NetworkAttachment{{Network: n.Network, Addresses: addrs}}
	t.DesiredState = swarm.TaskStateRunning
	t.Status = swarm.TaskStatus{State: swarm.TaskStateReady, Timestamp: tx.Now(), Message: "attached"}
	return t
}

// name says whose the place is.
func name(t *store.Task, container, called string, aliases []string) {
	t.Spec.NetworkAttachmentSpec = &swarm.NetworkAttachmentSpec{ContainerID: container}
	t.Spec.Networks = []swarm.NetworkAttachmentConfig{{Target: t.Spec.Networks[0].Target, Aliases: aliases}}
	t.ServiceName = called
}

// Attached brings what a node says of its containers into the state: places that nobody holds are given back, and those that
// the state has lost are written down again, unless another has the address by now.
func Attached(tx *store.Tx, node string, all []Held, dropped []string) {
	held := map[[2]string]Held{}
	for _, h := range all {
		held[[2]string{h.Network, h.Address}] = h
	}
	for _, t := range tx.Tasks(store.OnNode(node)) {
		if !Attachment(t) {
			continue
		}
		key := placeOf(t)
		h, ok := held[key]
		delete(held, key)
		switch {
		case ok:
			hear(tx, t, h)
		case slices.Contains(dropped, t.ID), tx.Now().Sub(t.AppliedAt) > pendingFor:
			tx.Delete(t)
		}
	}
	a := begin(tx)
	defer a.end()
	for _, h := range all {
		if _, unknown := held[[2]string{h.Network, h.Address}]; unknown {
			a.rewrite(node, h)
		}
	}
}

func placeOf(t *store.Task) (key [2]string) {
	for _, at := range t.NetworksAttachments {
		for _, s := range at.Addresses {
			if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() {
				return [2]string{at.Network.ID, p.Addr().String()}
			}
		}
	}
	return key
}

// hear notes what is new about a container. One that has been seen keeps its place until it is seen no more.
func hear(tx *store.Tx, t *store.Task, h Held) {
	c := *t
	name(&c, h.Container, h.Name, h.Aliases)
	c.AppliedAt = time.Time{}
	c.Status.State = swarm.TaskStateReady
	if h.Running {
		c.Status.State = swarm.TaskStateRunning
	}
	if c.Status.State != t.Status.State {
		c.Status.Timestamp = tx.Now()
	}
	if !samePlace(&c, t) {
		tx.Put(&c)
	}
}

func samePlace(a, b *store.Task) bool {
	return a.Status.State == b.Status.State && a.ServiceName == b.ServiceName && a.AppliedAt.Equal(b.AppliedAt) &&
		a.Spec.NetworkAttachmentSpec.ContainerID == b.Spec.NetworkAttachmentSpec.ContainerID &&
		slices.Equal(a.Spec.Networks[0].Aliases, b.Spec.Networks[0].Aliases)
}

// rewrite writes a place down again that the state does not know of: it was restored from before the container came.
func (a *allocation) rewrite(node string, h Held) {
	n := a.tx.Network(h.Network)
	if n == nil || !Managed(n) || !allocated(n) {
		return
	}
	var asked []netip.Addr
	for _, s := range []string{h.Address, h.Address6} {
		if addr, err := netip.ParseAddr(s); err == nil {
			asked = append(asked, addr)
		}
	}
	addrs, err := a.addresses(n, asked...)
	if err != nil {
		return // another has it: the node says so when its container cannot be reached
	}
	t := attachment(a.tx, node, n, addrs)
	t.AppliedAt = time.Time{}
	name(t, h.Container, h.Name, h.Aliases)
	if h.Running {
		t.Status.State = swarm.TaskStateRunning
	}
	a.tx.Put(t)
}

// DropAttachments forgets the places of containers on nodes that are no more.
func DropAttachments(tx *store.Tx, changes []store.Change) {
	for _, c := range changes {
		if c.Kind != store.KindNode || tx.Node(c.ID()) != nil {
			continue
		}
		for _, t := range tx.Tasks(store.OnNode(c.ID())) {
			if Attachment(t) {
				tx.Delete(t)
			}
		}
	}
}
