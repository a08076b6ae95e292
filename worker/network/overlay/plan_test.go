package overlay

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"orch/internal/bus"
)

func TestNew(t *testing.T) {
	n := bus.Network{
		ID: "n", Name: "net", Subnet: "10.0.1.0/24", NodeIP: "10.0.1.2", VNI: 4097,
		Peers: []bus.Peer{{NodeID: "b", Underlay: "192.0.2.2", NodeIP: "10.0.1.3"}},
	}
	task := func(node, a string) bus.Backend {
		return bus.Backend{NodeID: node, Addrs: map[string]string{"n": a}}
	}
	with6 := func(b bus.Backend, a string) bus.Backend {
		b.Addrs6 = map[string]string{"n": a}
		return b
	}
	services := []bus.Service{{Tasks: []bus.Backend{task("a", "10.0.1.4"), with6(task("b", "10.0.1.5"), "fd00::5"), task("gone", "10.0.1.6")}}}
	got, err := New(n, services, "192.0.2.1", 4789)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddr
	want := []Remote{{Addr: at("10.0.1.3"), Node: at("192.0.2.2")}, {Addr: at("10.0.1.5"), Addr6: at("fd00::5"), Node: at("192.0.2.2")}}
	if d := cmp.Diff(want, got.Remotes, cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Error(d)
	}
	if _, err := New(n, nil, "", 4789); err == nil || !strings.Contains(err.Error(), "no address for other nodes") {
		t.Errorf("without an underlay: %v", err)
	}
	n.Peers = nil
	if got, err := New(n, services, "", 4789); err != nil || len(got.Remotes) != 0 {
		t.Errorf("without peers: %v, %v", got.Remotes, err)
	}
}
