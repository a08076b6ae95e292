package bus_test

import (
	"net/netip"
	"slices"
	"testing"

	"orch/internal/bus"
)

func TestTheBusTakesThePortsAbove(t *testing.T) {
	addrs := []string{"192.0.2.1:2377", "no address", "[2001:db8::1]:7000"}
	if got := bus.ClientAddrs(addrs); !slices.Equal(got, []string{"192.0.2.1:2378", "[2001:db8::1]:7001"}) {
		t.Errorf("for workers: %v", got)
	}
	if got := bus.RouteAddrs(addrs); !slices.Equal(got, []string{"192.0.2.1:2379", "[2001:db8::1]:7002"}) {
		t.Errorf("for managers: %v", got)
	}
	if got := bus.RouteAddr(netip.MustParseAddrPort("127.0.0.1:0")); got != "127.0.0.1:0" {
		t.Errorf("any port became %s", got)
	}
}
