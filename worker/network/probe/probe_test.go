package probe

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestConditions(t *testing.T) {
	no := errors.New("operation not supported")
	for name, c := range map[string]struct {
		result Result
		want   []string
	}{
		"all is well":                  {Result{}, nil},
		"one way to encrypt is enough": {Result{ESP: no, WireGuard: no}, nil},
		"none is too few": {Result{ESP: no, WireGuard: no, TAP: no}, []string{
			"no encrypted networks: esp: operation not supported; wireguard: operation not supported; tap: operation not supported"}},
		"no root":     {Result{Namespace: no, NAT: no}, []string{"no service names or addresses, no overlay across nodes: operation not supported"}},
		"no vxlan":    {Result{VXLAN: no}, []string{"no overlay support across nodes: vxlan: operation not supported"}},
		"no marks":    {Result{Ports: no}, []string{"published ports pass through the daemon, and not while it restarts: nftables: operation not supported"}},
		"no nftables": {Result{NAT: no}, []string{"services resolve to their tasks' addresses (dnsrr): nftables: operation not supported"}},
	} {
		if d := cmp.Diff(c.want, c.result.Conditions()); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestKernelAnswersWithoutChangingTheNode(t *testing.T) {
	got := Kernel()
	if got.Namespace != nil && !strings.Contains(got.Namespace.Error(), "network namespace") {
		t.Error(got.Namespace)
	}
	if got.Services() && got.Overlay() != nil {
		t.Log("no overlay here:", got.Overlay())
	}
}
