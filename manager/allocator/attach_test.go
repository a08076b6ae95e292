package allocator_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
	"orch/manager/allocator"
)

func machine(id string) *store.Node {
	n := &store.Node{}
	n.ID = id
	return n
}

func attachable(n *store.Network) { n.Spec.Attachable = true }
func six(n *store.Network)        { n.Spec.IPv6Enabled = true }

func (c *cluster) attach(a allocator.Ask) (t *store.Task, err error) {
	c.t.Helper()
	c.update(func(tx *store.Tx) {
		t, err = allocator.Attach(tx, a)
		allocator.AttachNodes(tx)
	})
	return t, err
}

func (c *cluster) attached(node string, dropped []string, held ...allocator.Held) {
	c.t.Helper()
	c.update(func(tx *store.Tx) { allocator.Attached(tx, node, held, dropped) })
}

// places lists who holds what.
func (c *cluster) places() (out []string) {
	for _, t := range c.store.View().Tasks(store.All()) {
		if allocator.Attachment(t) {
			out = append(out, t.ServiceName+" "+t.NetworksAttachments[0].Addresses[0]+" "+string(t.Status.State))
		}
	}
	slices.Sort(out)
	return out
}

func TestAContainerKeepsItsPlaceUntilItIsGone(t *testing.T) {
	c := open(t, machine("a"), machine("b"), network("back", attachable, subnet("10.9.0.0/24")), network("closed", subnet("10.8.0.0/24")))
	for ask, want := range map[*allocator.Ask]string{
		{Node: "a", Network: "closed"}:                                       "code = PermissionDenied desc = network closed not manually attachable",
		{Node: "a", Network: "nope"}:                                         "network nope not found",
		{Node: "a", Network: "back", Addresses: []string{"10.7.0.1"}}:        "no configured subnet contains IP address 10.7.0.1",
		{Node: "a", Network: "back", Addresses: []string{"10.9.0.1"}}:        "Address already in use",
		{Node: "a", Network: "back", Addresses: []string{"fd00::1"}}:         "no configured subnet contains IP address fd00::1",
		{Node: "a", Network: "back", Addresses: []string{"ten-nine"}}:        "invalid IP address: ten-nine",
		{Node: "a", Network: "closed", Addresses: []string{"10.8.0.9", "x"}}: "not manually attachable",
	} {
		if _, err := c.attach(*ask); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", *ask, err, want)
		}
	}
	_, err := c.attach(allocator.Ask{Node: "a", Network: "back", Addresses: []string{"10.9.0.50"}, Container: "one"})
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.attach(allocator.Ask{Node: "b", Network: "back", Container: "two"})
	if err != nil {
		t.Fatal(err)
	}
	if c.store.View().Node("a").NetworkAddrs["back"] == "" {
		t.Error("the container's node has no address on the network")
	}
	if _, err := c.attach(allocator.Ask{Node: "b", Network: "back", Addresses: []string{"10.9.0.50"}}); err == nil {
		t.Error("an address was given twice")
	}
	// Not seen yet: being made. Seen: kept, by whatever name it has.
	c.attached("a", nil)
	c.attached("a", nil, allocator.Held{Network: "back", Address: "10.9.0.50", Container: "x", Name: "uno", Running: true})
	if got := c.places(); len(got) != 2 || got[1] != "uno 10.9.0.50/24 running" {
		t.Errorf("places %q", got)
	}
	// The other did not come about; the first is gone.
	c.attached("b", []string{two.ID})
	c.attached("a", nil)
	if got := c.places(); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
	// A container that the state does not know of is written down, unless its address is another's.
	c.attached("b", nil, allocator.Held{Network: "back", Address: "10.9.0.77", Container: "y", Name: "old"}, allocator.Held{Network: "gone", Address: "10.9.0.78"})
	c.attached("a", nil, allocator.Held{Network: "back", Address: "10.9.0.77", Container: "z", Name: "late"})
	if got := c.places(); !slices.Equal(got, []string{"old 10.9.0.77/24 ready"}) {
		t.Errorf("places %q", got)
	}
	c.update(func(tx *store.Tx) {
		gone := tx.Node("b")
		tx.Delete(gone)
		allocator.DropAttachments(tx, []store.Change{{Kind: store.KindNode, Old: gone}})
	})
	if got := c.places(); len(got) != 0 {
		t.Errorf("a removed node's: %q", got)
	}
}

func TestIPv6(t *testing.T) {
	given := func(n *store.Network) {
		n.Spec.IPv6Enabled = true
		n.Spec.IPAMOptions = &swarm.IPAMOptions{Configs: []swarm.IPAMConfig{{Subnet: "fd00:1::/64"}, {Subnet: "10.4.0.0/24"}}}
	}
	web := service("web", "auto", "given")
	c := open(t, network("auto", six), network("auto2", six), network("given", given), web)
	c.put(task("t1", web), task("t2", web))
	for id, want := range map[string]string{"given": "10.4.0.0/24 fd00:1::/64"} {
		got := c.store.View().Network(id).IPAMOptions.Configs
		if s := got[0].Subnet + " " + got[1].Subnet; s != want || got[1].Gateway != "fd00:1::1" {
			t.Errorf("%s has %s, gateway %s", id, s, got[1].Gateway)
		}
	}
	one, two := c.store.View().Network("auto").IPAMOptions.Configs[1].Subnet, c.store.View().Network("auto2").IPAMOptions.Configs[1].Subnet
	if !strings.HasPrefix(one, "fd") || one == two {
		t.Errorf("subnets %s and %s", one, two)
	}
	seen := map[string]bool{}
	for _, task := range c.store.View().Tasks(store.All()) {
		for _, at := range task.NetworksAttachments {
			if len(at.Addresses) != 2 || !strings.Contains(at.Addresses[1], ":") {
				t.Errorf("%s has %q", task.ID, at.Addresses)
			}
			for _, a := range at.Addresses {
				if seen[a] {
					t.Errorf("%s was given twice", a)
				}
				seen[a] = true
			}
		}
	}
}

func TestWhatANetworkCannotBe(t *testing.T) {
	c := open(t, network("there", subnet("10.9.0.0/24")))
	spec := func(change ...func(*store.Network)) *swarm.NetworkSpec { return &network("new", change...).Spec }
	ipam := func(configs ...swarm.IPAMConfig) func(*store.Network) {
		return func(n *store.Network) { n.Spec.IPAMOptions = &swarm.IPAMOptions{Configs: configs} }
	}
	option := func(k, v string) func(*store.Network) {
		return func(n *store.Network) { n.Spec.DriverConfiguration.Options = map[string]string{k: v} }
	}
	for name, x := range map[string]struct {
		spec *swarm.NetworkSpec
		want string
	}{
		"fine":            {spec(ipam(swarm.IPAMConfig{Subnet: "10.7.0.0/16", Range: "10.7.4.0/24", Gateway: "10.7.255.254"})), ""},
		"overlap":         {spec(subnet("10.9.0.0/16")), "Pool overlaps with other one on this address space"},
		"no subnet":       {spec(subnet("ten")), "invalid subnet ten"},
		"range outside":   {spec(ipam(swarm.IPAMConfig{Subnet: "10.7.0.0/24", Range: "10.8.0.0/25"})), "subnet 10.7.0.0/24 does not contain range 10.8.0.0/25"},
		"range larger":    {spec(ipam(swarm.IPAMConfig{Subnet: "10.7.0.0/24", Range: "10.7.0.0/16"})), "does not contain range"},
		"gateway outside": {spec(ipam(swarm.IPAMConfig{Subnet: "10.7.0.0/24", Gateway: "10.8.0.1"})), "does not contain gateway 10.8.0.1"},
		"two subnets":     {spec(ipam(swarm.IPAMConfig{Subnet: "10.7.0.0/24"}, swarm.IPAMConfig{Subnet: "10.6.0.0/24"})), "one IPv4 and one IPv6 subnet"},
		"six not enabled": {spec(subnet("fd00::/64")), "has not enabled"},
		"too small":       {spec(subnet("10.7.0.0/30")), "too small"},
		"bad MTU":         {spec(option(allocator.MTUOption, "12")), `invalid MTU "12": must be between 576 and 65485`},
		"no MTU":          {spec(option(allocator.MTUOption, "big")), `invalid MTU "big"`},
		"low for IPv6":    {spec(six, option(allocator.MTUOption, "1000")), "between 1280"},
		"VXLAN taken":     {spec(option(allocator.VXLANOption, "4096")), "VXLAN id 4096 belongs to network there"},
		"VXLAN too large": {spec(option(allocator.VXLANOption, "16777216")), "invalid VXLAN id"},
	} {
		err := allocator.CheckNetwork(c.store.View(), x.spec)
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
	}
	full := open(t, &store.Cluster{ClusterInfo: swarm.ClusterInfo{ID: "c", DefaultAddrPool: []string{"10.0.0.0/24"}, SubnetSize: 24}}, network("all"))
	if err := allocator.CheckNetwork(full.store.View(), spec()); err == nil || !strings.Contains(err.Error(), "could not find an available, non-overlapping IPv4 address pool") {
		t.Errorf("with all pools in use: %v", err)
	}
}
