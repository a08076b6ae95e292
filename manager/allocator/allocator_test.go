package allocator_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"orch/internal/store"
	"orch/manager/allocator"
)

// cluster is a store with the allocator run on it.
type cluster struct {
	t     testing.TB
	store *store.Store
}

func open(t testing.TB, objects ...store.Object) *cluster {
	s := store.New(store.NewMemLog())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	<-s.Ready()
	c := &cluster{t, s}
	c.put(objects...)
	return c
}

func (c *cluster) update(fn func(*store.Tx)) {
	c.t.Helper()
	if err := c.store.Update(c.t.Context(), func(tx *store.Tx) error { fn(tx); return nil }); err != nil {
		c.t.Fatal(err)
	}
}

// put writes objects and allocates what they need.
func (c *cluster) put(objects ...store.Object) {
	c.t.Helper()
	c.update(func(tx *store.Tx) {
		var services []string
		for _, o := range objects {
			tx.Put(o)
			if s, ok := o.(*store.Service); ok {
				services = append(services, s.ID)
			}
		}
		allocator.Allocate(tx, services)
		allocator.AttachNodes(tx)
	})
}

func network(id string, change ...func(*store.Network)) *store.Network {
	n := &store.Network{}
	n.ID, n.Spec.Name = id, id
	n.Spec.DriverConfiguration = &swarm.Driver{Name: "overlay"}
	for _, fn := range change {
		fn(n)
	}
	return n
}

func ingress(n *store.Network) { n.Spec.Ingress = true }

func subnet(cidr string) func(*store.Network) {
	return func(n *store.Network) {
		n.Spec.IPAMOptions = &swarm.IPAMOptions{Configs: []swarm.IPAMConfig{{Subnet: cidr}}}
	}
}

func service(id string, networks ...string) *store.Service {
	s := &store.Service{SpecVersion: 1}
	s.ID, s.Spec.Name = id, id
	for _, n := range networks {
		s.Spec.TaskTemplate.Networks = append(s.Spec.TaskTemplate.Networks, swarm.NetworkAttachmentConfig{Target: n})
	}
	return s
}

func publishing(s *store.Service, ports ...swarm.PortConfig) *store.Service {
	s.Spec.EndpointSpec = &swarm.EndpointSpec{Mode: swarm.ResolutionModeVIP, Ports: ports}
	return s
}

func port(published uint32, mode swarm.PortConfigPublishMode) swarm.PortConfig {
	return swarm.PortConfig{Protocol: swarm.PortConfigProtocolTCP, TargetPort: 80, PublishedPort: published, PublishMode: mode}
}

const (
	inIngress = swarm.PortConfigPublishModeIngress
	onHost    = swarm.PortConfigPublishModeHost
)

func task(id string, s *store.Service) *store.Task {
	t := &store.Task{Endpoint: s.Spec.EndpointSpec}
	t.ID, t.ServiceID, t.Spec = id, s.ID, s.Spec.TaskTemplate
	t.Status.State, t.DesiredState = swarm.TaskStateNew, swarm.TaskStateRunning
	return t
}

func (c *cluster) subnets() map[string]string {
	all := map[string]string{}
	for _, n := range c.store.View().Networks(store.All()) {
		if n.IPAMOptions != nil {
			all[n.ID] = fmt.Sprintf("%s %s %d", n.IPAMOptions.Configs[0].Subnet, n.IPAMOptions.Configs[0].Gateway, allocator.VXLAN(n))
		}
	}
	return all
}

// addresses are a task's, in the order of its networks.
func (c *cluster) addresses(id string) (all []string) {
	for _, at := range c.store.View().Task(id).NetworksAttachments {
		all = append(all, at.Addresses...)
	}
	return all
}

func TestSubnets(t *testing.T) {
	pools := func(size uint32, pools ...string) *store.Cluster {
		c := &store.Cluster{}
		c.ID, c.DefaultAddrPool, c.SubnetSize = "c", pools, size
		return c
	}
	node := &store.Node{UsedSubnets: []string{"0.0.0.0/0", "10.0.1.0/24", "10.0.4.0/22"}}
	node.ID = "n1"
	predefined := network("host", func(n *store.Network) {
		n.Spec.DriverConfiguration.Name = "host"
		n.Spec.Labels = map[string]string{"com.docker.swarm.predefined": "true"}
	})
	for _, tt := range []struct {
		name    string
		objects []store.Object
		want    map[string]string
	}{
		{"ingress first", []store.Object{network("a"), network("b"), network("z", ingress)},
			map[string]string{"z": "10.0.0.0/24 10.0.0.1 4096", "a": "10.0.1.0/24 10.0.1.1 4097", "b": "10.0.2.0/24 10.0.2.1 4098"}},
		{"clear of what nodes route", []store.Object{node, network("a"), network("b"), network("c"), network("d"), network("e")},
			map[string]string{"a": "10.0.0.0/24 10.0.0.1 4096", "b": "10.0.2.0/24 10.0.2.1 4097", "c": "10.0.3.0/24 10.0.3.1 4098",
				"d": "10.0.8.0/24 10.0.8.1 4099", "e": "10.0.9.0/24 10.0.9.1 4100"}},
		{"as asked for", []store.Object{network("a", subnet("10.0.0.0/16")), network("b")},
			map[string]string{"a": "10.0.0.0/16 10.0.0.1 4096", "b": "10.1.0.0/24 10.1.0.1 4097"}},
		{"from the cluster's pools until they are exhausted", []store.Object{pools(25, "172.20.0.0/24", "172.30.0.0/25"),
			network("a"), network("b"), network("c"), network("d")},
			map[string]string{"a": "172.20.0.0/25 172.20.0.1 4096", "b": "172.20.0.128/25 172.20.0.129 4097", "c": "172.30.0.0/25 172.30.0.1 4098"}},
		{"none for predefined networks", []store.Object{predefined}, map[string]string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, open(t, tt.objects...).subnets()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSubnetOfARemovedNetworkRests(t *testing.T) {
	cluster := &store.Cluster{}
	cluster.ID, cluster.DefaultAddrPool, cluster.SubnetSize = "c", []string{"10.1.0.0/24", "10.2.0.0/25"}, 25
	c := open(t, cluster)
	var got []string
	for i := range 4 {
		id := fmt.Sprintf("n%d", i)
		c.put(network(id))
		got = append(got, c.subnets()[id])
		c.update(func(tx *store.Tx) { tx.Delete(tx.Network(id)) })
	}
	want := []string{"10.1.0.0/25 10.1.0.1 4096", "10.1.0.128/25 10.1.0.129 4097", "10.1.0.0/25 10.1.0.1 4098", "10.1.0.128/25 10.1.0.129 4099"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEndpointAndAddresses(t *testing.T) {
	web := publishing(service("web", "front", "back"), port(8080, inIngress), port(0, inIngress), port(9090, onHost))
	c := open(t, network("in", ingress), network("front"), network("back"), web, task("t1", web))
	got := c.store.View().Service("web").Endpoint
	want := swarm.Endpoint{
		Spec:  *web.Spec.EndpointSpec,
		Ports: []swarm.PortConfig{port(8080, inIngress), port(30000, inIngress), port(9090, onHost)},
		VirtualIPs: []swarm.EndpointVirtualIP{
			{NetworkID: "in", Addr: "10.0.0.2/24"}, {NetworkID: "front", Addr: "10.0.2.2/24"}, {NetworkID: "back", Addr: "10.0.1.2/24"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"10.0.0.3/24", "10.0.2.3/24", "10.0.1.3/24"}, c.addresses("t1")); diff != "" {
		t.Error(diff)
	}
	if s := c.store.View().Task("t1").Status; s.State != swarm.TaskStatePending || s.Message != "pending task scheduling" {
		t.Errorf("%s %q", s.State, s.Message)
	}
}

func TestEndpointKeepsWhatItHas(t *testing.T) {
	c := open(t, network("in", ingress), network("a"), network("b"),
		publishing(service("web", "a"), port(0, inIngress)), publishing(service("other", "a"), port(0, inIngress)))
	before := c.store.View().Service("web").Endpoint
	changed := *c.store.View().Service("web")
	changed.Spec.EndpointSpec = &swarm.EndpointSpec{Mode: swarm.ResolutionModeVIP, Ports: []swarm.PortConfig{port(0, inIngress), {TargetPort: 81, Protocol: swarm.PortConfigProtocolUDP, PublishMode: inIngress}}}
	changed.Spec.TaskTemplate.Networks = append(changed.Spec.TaskTemplate.Networks, swarm.NetworkAttachmentConfig{Target: "b"})
	c.put(&changed)
	after := c.store.View().Service("web").Endpoint
	if after.Ports[0] != before.Ports[0] || after.Ports[1].PublishedPort != 30000 {
		t.Errorf("ports %v, then %v", before.Ports, after.Ports)
	}
	if diff := cmp.Diff(before.VirtualIPs, after.VirtualIPs[:2]); diff != "" || len(after.VirtualIPs) != 3 {
		t.Errorf("%v: %s", after.VirtualIPs, diff)
	}
}

func TestDNSRRHasNoVIP(t *testing.T) {
	s := service("web", "a")
	s.Spec.EndpointSpec = &swarm.EndpointSpec{Mode: swarm.ResolutionModeDNSRR}
	c := open(t, network("a"), s, task("t1", s))
	if vips := c.store.View().Service("web").Endpoint.VirtualIPs; vips != nil {
		t.Errorf("virtual addresses %v", vips)
	}
	if len(c.addresses("t1")) != 1 {
		t.Error("the task has no address")
	}
}

func TestFreedAddressRestsBeforeReuse(t *testing.T) {
	s := service("web", "a")
	c := open(t, network("a", subnet("10.9.0.0/29")), s) // 2 is the virtual address; 3 to 6 are free
	var got []string
	for i := range 6 {
		id := fmt.Sprintf("t%d", i)
		c.put(task(id, s))
		got = append(got, c.addresses(id)...)
		c.update(func(tx *store.Tx) { tx.Delete(tx.Task(id)) })
	}
	want := []string{"10.9.0.3/29", "10.9.0.4/29", "10.9.0.5/29", "10.9.0.6/29", "10.9.0.3/29", "10.9.0.4/29"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestExhaustedNetwork(t *testing.T) {
	s := service("web", "a")
	c := open(t, network("a", subnet("10.9.0.0/30")), s) // room for the virtual address only
	c.put(task("t1", s))
	got := c.store.View().Task("t1").Status
	if got.State != swarm.TaskStateNew || got.Err != "failed to allocate network IP for task t1 network a: could not find an available IP" {
		t.Errorf("%s %q", got.State, got.Err)
	}
	seq := c.store.View().Seq()
	c.put()
	if now := c.store.View().Seq(); now != seq {
		t.Error("trying again in vain was written")
	}
	c.put(service("other", "a"))
	other := c.store.View().Service("other")
	c.put(task("t2", other))
	if got := c.store.View().Task("t2").Status.Err; got != "could not find an available IP while allocating VIP" {
		t.Error(got)
	}
	// What is removed makes room.
	c.update(func(tx *store.Tx) { tx.Delete(tx.Service("web")); tx.Delete(tx.Task("t1")) })
	c.put()
	if vips := c.store.View().Service("other").Endpoint.VirtualIPs; len(vips) != 1 {
		t.Errorf("virtual addresses %v", vips)
	}
}

func TestEndedTaskHoldsNoAddress(t *testing.T) {
	s := service("web", "a")
	c := open(t, network("a", subnet("10.9.0.0/30")))
	s.Spec.EndpointSpec = &swarm.EndpointSpec{Mode: swarm.ResolutionModeDNSRR}
	c.put(s, task("t1", s))
	c.update(func(tx *store.Tx) {
		ended := *tx.Task("t1")
		ended.Status.State = swarm.TaskStateFailed
		tx.Put(&ended)
	})
	c.put(task("t2", s))
	if diff := cmp.Diff(c.addresses("t1"), c.addresses("t2")); diff != "" {
		t.Error(diff)
	}
}

func TestNodesHaveAddressesWhereTheirTasksAre(t *testing.T) {
	s := service("web", "a")
	n1, n2 := &store.Node{}, &store.Node{}
	n1.ID, n2.ID = "n1", "n2"
	c := open(t, network("in", ingress), network("a"), n1, n2, s, task("t1", s))
	c.update(func(tx *store.Tx) {
		placed := *tx.Task("t1")
		placed.NodeID, placed.Status.State = "n1", swarm.TaskStateAssigned
		tx.Put(&placed)
		allocator.AttachNodes(tx)
	})
	addrs := func() []map[string]string {
		v := c.store.View()
		return []map[string]string{v.Node("n1").NetworkAddrs, v.Node("n2").NetworkAddrs}
	}
	want := []map[string]string{{"in": "10.0.0.2", "a": "10.0.1.4"}, {"in": "10.0.0.3"}}
	if diff := cmp.Diff(want, addrs()); diff != "" {
		t.Error(diff)
	}
	c.update(func(tx *store.Tx) {
		tx.Delete(tx.Task("t1"))
		allocator.AttachNodes(tx)
	})
	delete(want[0], "a")
	if diff := cmp.Diff(want, addrs()); diff != "" {
		t.Errorf("after the last task: %s", diff)
	}
}

func TestPortConflict(t *testing.T) {
	v := open(t, network("in", ingress), publishing(service("big"), port(8080, inIngress), port(9090, onHost))).store.View()
	for _, tt := range []struct {
		name    string
		port    swarm.PortConfig
		service string
		want    string
	}{
		{"ingress on ingress", port(8080, inIngress), "", "port '8080' is already in use by service 'big' (big) as an ingress port"},
		{"host on ingress", port(8080, onHost), "", "port '8080' is already in use by service 'big' (big) as an ingress port"},
		{"ingress on host", port(9090, inIngress), "", "port '9090' is already in use by service 'big' (big) as a host-published port"},
		{"host on host", port(9090, onHost), "", ""},
		{"its own", port(8080, inIngress), "big", ""},
		{"another protocol", swarm.PortConfig{Protocol: swarm.PortConfigProtocolUDP, PublishedPort: 8080}, "", ""},
		{"automatic", port(0, inIngress), "", ""},
	} {
		got := ""
		if err := allocator.PortConflict(v, &swarm.EndpointSpec{Ports: []swarm.PortConfig{tt.port}}, tt.service); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestSubnetConflict(t *testing.T) {
	v := open(t, network("a", subnet("10.9.0.0/16"))).store.View()
	for cidr, conflict := range map[string]bool{"10.9.3.0/24": true, "10.0.0.0/8": true, "10.10.0.0/16": false} {
		spec := network("b", subnet(cidr)).Spec
		if err := allocator.SubnetConflict(v, &spec); (err != nil) != conflict {
			t.Errorf("%s: %v", cidr, err)
		}
	}
}

// An idle pass over 1,000 services with 5,000 tasks, and one more task in it.
func BenchmarkAllocate(b *testing.B) {
	objects := []store.Object{network("a", subnet("10.0.0.0/16"))}
	for i := range 1000 {
		s := service(fmt.Sprintf("s%04d", i), "a")
		objects = append(objects, s)
		for j := range 5 {
			objects = append(objects, task(fmt.Sprintf("%s-%d", s.ID, j), s))
		}
	}
	c := open(b, objects...)
	for name, fresh := range map[string]bool{"idle": false, "one": true} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				tx := c.store.View().NewTx(time.Now())
				if fresh {
					tx.Put(task("fresh", tx.Service("s0001")))
				}
				allocator.Allocate(tx, []string{"s0001"})
			}
		})
	}
}
