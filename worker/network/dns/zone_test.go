package dns

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"orch/internal/bus"
)

func TestResolve(t *testing.T) {
	web := []bus.Backend{
		{TaskID: "a", Slot: 1, Addrs: map[string]string{"n1": "10.0.1.3"}}, {TaskID: "b", NodeID: "node", Addrs: map[string]string{"n1": "10.0.1.4"}},
	}
	networks := []bus.Network{{ID: "n1", Name: "front", Subnet: "10.0.1.0/24"}, {ID: "n2", Name: "back", Subnet: "10.0.2.0/24"}}
	services := []bus.Service{
		{Name: "Web", VIPs: map[string]string{"n1": "10.0.1.2"}, Aliases: map[string][]string{"n1": {"www"}}, Backends: web[:1], Tasks: web},
		{Name: "db", VIPs: map[string]string{"n2": "10.0.2.2"}},
	}
	z, plain := NewZone(networks, services, true), NewZone(networks, services, false)
	vip := answer{found: true, vip: netip.MustParseAddr("10.0.1.2"), addrs: []netip.Addr{netip.MustParseAddr("10.0.1.3")}}
	tasks := answer{found: true, addrs: vip.addrs}
	for _, c := range []struct {
		zone     *Zone
		name     string
		networks []string
		want     answer
	}{
		{z, "web", []string{"n1"}, vip},
		{z, "WWW", []string{"n2", "n1"}, vip},
		{z, "web.front", []string{"n1"}, vip},
		{z, "web.back", []string{"n1", "n2"}, answer{}},
		{z, "web", []string{"n2"}, answer{}},
		{z, "db.back", []string{"n1"}, answer{}},
		{z, "tasks.web", []string{"n1"}, tasks},
		{z, "tasks.web.front", []string{"n1"}, tasks},
		{z, "web.1.a", []string{"n1"}, tasks},
		{z, "web.node.b", []string{"n1"}, answer{found: true, addrs: []netip.Addr{netip.MustParseAddr("10.0.1.4")}}},
		{z, "example.com", []string{"n1", "n2"}, answer{}},
		{plain, "web", []string{"n1"}, tasks},
	} {
		got := c.zone.resolve(c.name, c.networks)
		if d := cmp.Diff(c.want, got, cmp.AllowUnexported(answer{}), cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s on %v: %s", c.name, c.networks, d)
		}
	}
	if got := z.reverse[netip.MustParseAddr("10.0.1.2")]; got != "Web.front" {
		t.Errorf("reverse of the service address: %q", got)
	}
}

func FuzzFromReverse(f *testing.F) {
	f.Add("4.3.2.1.in-addr.arpa.")
	f.Fuzz(func(t *testing.T, name string) {
		if a, ok := fromReverse(name); ok && !a.Is4() {
			t.Errorf("%q: %s", name, a)
		}
	})
}
