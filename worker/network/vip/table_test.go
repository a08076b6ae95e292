package vip

import (
	"net/netip"
	"testing"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"orch/internal/bus"
)

var byAddr = cmpopts.EquateComparable(netip.Addr{})

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func backend(a string) bus.Backend { return bus.Backend{Addrs: map[string]string{"n": a}} }

func TestTableOf(t *testing.T) {
	at := map[string]string{"n": "10.0.0.9"}
	for name, c := range map[string]struct {
		service bus.Service
		want    Table
	}{
		"backends in order, once": {
			bus.Service{VIPs: at, Backends: []bus.Backend{backend("10.0.0.3"), backend("10.0.0.2"), backend("10.0.0.3")}},
			Table{netip.MustParseAddr("10.0.0.9"): {Backends: addrs("10.0.0.2", "10.0.0.3")}},
		},
		"no backends refuse":     {bus.Service{VIPs: at}, Table{netip.MustParseAddr("10.0.0.9"): {}}},
		"affinity on request":    {bus.Service{VIPs: at, Labels: map[string]string{StickyLabel: "source"}}, Table{netip.MustParseAddr("10.0.0.9"): {Sticky: true}}},
		"dnsrr has no address":   {bus.Service{VIPs: at, Mode: swarm.ResolutionModeDNSRR}, Table{}},
		"another network is not": {bus.Service{VIPs: map[string]string{"m": "10.1.0.9"}}, Table{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := TableOf("n", []bus.Service{c.service})
			if d := cmp.Diff(c.want, got, byAddr, cmpopts.EquateEmpty()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDiff(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.10")
	have := Table{a: {Backends: addrs("10.0.0.2", "10.0.0.3")}, b: {Backends: addrs("10.0.0.4")}}
	for name, c := range map[string]struct {
		want []Table
		diff change
	}{
		"the same":               {[]Table{have}, change{}},
		"the same in two tables": {[]Table{{a: have[a]}, {b: have[b]}}, change{}},
		"a backend leaves": {
			[]Table{{a: {Backends: addrs("10.0.0.2")}, b: have[b]}},
			change{set: []netip.Addr{a}, retired: map[netip.Addr][]netip.Addr{a: addrs("10.0.0.3")}},
		},
		"a service leaves": {
			[]Table{{a: have[a]}},
			change{gone: []netip.Addr{b}, retired: map[netip.Addr][]netip.Addr{b: addrs("10.0.0.4")}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := diff(have, c.want)
			if d := cmp.Diff(c.diff, got, byAddr, cmp.AllowUnexported(change{}), cmpopts.EquateEmpty()); d != "" {
				t.Error(d)
			}
		})
	}
}
