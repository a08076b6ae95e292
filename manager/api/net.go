package api

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/internal/store"
	"orch/manager/allocator"
)

const (
	// checkFor is how long nodes ask each other in a check.
	checkFor = 3 * time.Second
	// answerWithin bounds how long a node may take to say what it has, answerSlack what it may take beyond a check.
	answerWithin, answerSlack = 5 * time.Second, 4 * time.Second
	// checkRange is where the nodes' addresses in a check are: the range for benchmarks (RFC 2544).
	checkRange = "198.18.0.0"
)

// netRoutes are not Docker's: they ask the nodes how their part of the networks is.
func (a *API) netRoutes() []route {
	return []route{
		{"POST", "/orch/net/check", a.checkNodes},
		{"GET", "/orch/net/{id}", a.reportNetwork},
	}
}

// NetNode is a node's part in an answer of these routes.
type NetNode struct {
	ID       string
	Hostname string
	Addr     string
	State    swarm.NodeState
	Err      string `json:",omitempty"`

	Network *bus.NetworkReport `json:",omitempty"`
	MTU     int                `json:",omitempty"`
	Paths   []bus.PathReport   `json:",omitempty"`
}

// each asks nodes at once.
func (a *API) each(ctx context.Context, nodes []*store.Node, within time.Duration, question func(*store.Node) bus.Question) []NetNode {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	out := make([]NetNode, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		out[i] = NetNode{ID: n.ID, Hostname: n.Description.Hostname, Addr: n.Status.Addr, State: n.Status.State}
		if n.Status.State != swarm.NodeStateReady {
			out[i].Err = fmt.Sprintf("the node is %s", n.Status.State)
			continue
		}
		q := question(n)
		all.Go(func() {
			answer, err := a.Ask(ctx, n.ID, q)
			if err != nil {
				out[i].Err = err.Error()
			}
			out[i].Network, out[i].Paths, out[i].MTU = answer.Network, answer.Check, answer.MTU
		})
	}
	all.Wait()
	return out
}

// checkNodes has all nodes try the way to all others.
func (a *API) checkNodes(w http.ResponseWriter, r *http.Request) error {
	v := a.Store.View()
	nodes := v.Nodes(store.All())
	addr := map[string]string{}
	at := netip.MustParseAddr(checkRange)
	for _, n := range nodes {
		at = at.Next()
		addr[n.ID] = at.String()
	}
	found := a.each(r.Context(), nodes, checkFor+answerSlack, func(n *store.Node) bus.Question {
		c := &bus.Check{Addr: addr[n.ID], For: checkFor}
		for _, other := range nodes {
			if other.ID != n.ID && other.Status.State == swarm.NodeStateReady {
				c.Peers = append(c.Peers, bus.CheckPeer{NodeID: other.ID, Underlay: other.Status.Addr, Addr: addr[other.ID]})
			}
		}
		return bus.Question{Check: c}
	})
	return encode(w, http.StatusOK, found)
}

// NetPlace is who has an address of a network.
type NetPlace struct {
	Name     string
	TaskID   string
	NodeID   string
	Hostname string
	State    swarm.TaskState
	Addrs    []string
}

// NetAddress is a service's own.
type NetAddress struct{ Service, Addr string }

// NetReport is a network as the managers want it and as the nodes have it.
type NetReport struct {
	ID, Name  string
	Subnets   []string
	VXLAN     uint32
	Encrypted bool
	Services  []NetAddress
	Tasks     []NetPlace
	Nodes     []NetNode
}

func (a *API) reportNetwork(w http.ResponseWriter, r *http.Request) error {
	v := a.Store.View()
	n, err := findNetwork(v, id(r))
	if err != nil {
		return err
	}
	if !allocator.Managed(n) {
		return invalid("network %s is the engines' own, and not the cluster's", n.Spec.Name)
	}
	out := NetReport{ID: n.ID, Name: n.Spec.Name, VXLAN: allocator.VXLAN(n), Encrypted: store.Encrypted(n.Spec)}
	if n.IPAMOptions != nil {
		for _, c := range n.IPAMOptions.Configs {
			out.Subnets = append(out.Subnets, c.Subnet)
		}
	}
	for _, s := range v.Services(store.All()) {
		for _, vip := range s.Endpoint.VirtualIPs {
			if vip.NetworkID == n.ID {
				out.Services = append(out.Services, NetAddress{s.Spec.Name, strings.Split(vip.Addr, "/")[0]})
			}
		}
	}
	var nodes []*store.Node
	for _, node := range v.Nodes(store.All()) {
		if node.NetworkAddrs[n.ID] != "" {
			nodes = append(nodes, node)
		}
	}
	for _, t := range v.Tasks(store.OnNetwork(n.ID)) {
		if !t.Ended() {
			out.Tasks = append(out.Tasks, placeOn(v, n.ID, t))
		}
	}
	out.Nodes = a.each(r.Context(), nodes, answerWithin, func(*store.Node) bus.Question { return bus.Question{Network: n.ID} })
	return encode(w, http.StatusOK, out)
}

func placeOn(v *store.View, network string, t *store.Task) NetPlace {
	p := NetPlace{Name: taskName(t), TaskID: t.ID, NodeID: t.NodeID, State: t.Status.State}
	if allocator.Attachment(t) {
		p.Name = t.ServiceName
	}
	if n := v.Node(t.NodeID); n != nil {
		p.Hostname = n.Description.Hostname
	}
	for _, at := range t.NetworksAttachments {
		if at.Network.ID == network {
			for _, addr := range at.Addresses {
				p.Addrs = append(p.Addrs, strings.Split(addr, "/")[0])
			}
		}
	}
	return p
}
