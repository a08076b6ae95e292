package dns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"

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
		if a, ok := fromReverse(name); ok && (!a.IsValid() || a.Is4In6()) {
			t.Errorf("%q: %s", name, a)
		}
		plain(name) // it must not fail, whatever is asked
	})
}

// Names are compared as they are written in a compose file, whatever bytes they have.
func TestOddNames(t *testing.T) {
	z := NewZone([]bus.Network{{ID: "n1", Name: "back_end", Subnet: "10.0.1.0/24", Subnet6: "fd00::/64"}}, []bus.Service{{
		Name: "my_web", Mode: swarm.ResolutionModeDNSRR, Aliases: map[string][]string{"n1": {"_sip.web", "büro", "a-", "x.y.z"}},
		Backends: []bus.Backend{{TaskID: "a", Slot: 1, Addrs: map[string]string{"n1": "10.0.1.3"}, Addrs6: map[string]string{"n1": "fd00::3"}}},
	}}, true)
	for _, name := range []string{"my_web", "MY_WEB.back_end", "_sip.web", "büro", "a-", "x.y.z"} {
		wire := make([]byte, 300)
		if _, err := dns.PackDomainName(dns.Fqdn(name), wire, 0, nil, false); err != nil {
			t.Fatal(err)
		}
		asked, _, err := dns.UnpackDomainName(wire, 0)
		if err != nil {
			t.Fatal(err)
		}
		got := z.resolve(plain(asked), []string{"n1"})
		if !got.found || len(got.addrs) != 1 || len(got.six) != 1 || got.six[0] != netip.MustParseAddr("fd00::3") {
			t.Errorf("%s (asked for as %s): %+v", name, asked, got)
		}
	}
	if got, ok := fromReverse("3." + strings.Repeat("0.", 29) + "d.f.ip6.arpa."); !ok || got != netip.MustParseAddr("fd00::3") {
		t.Errorf("reverse name of fd00::3: %s", got)
	}
}
