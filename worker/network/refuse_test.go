package network

import (
	"errors"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/network"

	"orch/internal/bus"
	"orch/worker/network/probe"
)

func TestWhatANodeCannotDoIsRefused(t *testing.T) {
	good := bus.Network{Subnet: "10.0.1.0/24", Gateway: "10.0.1.1", VNI: 4097}
	for want, change := range map[string]func(*bus.Network){
		"":                       func(*bus.Network) {},
		"cannot encrypt":         func(w *bus.Network) { w.Encrypted = true },
		"IPv6":                   func(w *bus.Network) { w.Subnet6, w.MTU = "fd00::/64", 1000 },
		"bad MTU 12":             func(w *bus.Network) { w.MTU = 12 },
		`bad subnet "x"`:         func(w *bus.Network) { w.Subnet = "x" },
		"is not in subnet":       func(w *bus.Network) { w.Gateway = "10.0.2.1" },
		"no overlay support: no": func(w *bus.Network) { w.Peers = []bus.Peer{{}} },
	} {
		w := good
		change(&w)
		err := (&Network{can: probe.Result{VXLAN: errors.New("no vxlan")}}).supports(w)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestConflict(t *testing.T) {
	w := bus.Network{Name: "net", Subnet: "10.0.1.0/24", VNI: 4097}
	for want, d := range map[string]network.Summary{
		"":                      {Name: "other"},
		"another network":       {Name: "net"},
		"belongs to network":    {Name: "other", Options: map[string]string{optionBridge: "ovb4097"}},
		"overlaps with 10.0.0.": {Name: "other", IPAM: network.IPAM{Config: []network.IPAMConfig{{Subnet: "10.0.0.0/16"}}}},
	} {
		err := conflict(w, []network.Summary{d})
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
