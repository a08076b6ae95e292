package crypt

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

func keysFrom(first uint64, n int) (keys []Key) {
	for i := range n {
		keys = append(keys, Key{ID: first + uint64(i), Data: []byte(strings.Repeat("k", 31) + string(rune('a'+first+uint64(i))))})
	}
	return keys
}

// What one node sends, with the key that it takes for the primary one, the other can read: before, during and after a rotation.
func TestARotationLosesNothing(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for _, step := range []struct{ a, b []Key }{
		{keysFrom(1, 2), keysFrom(1, 2)}, {keysFrom(1, 3), keysFrom(1, 2)}, {keysFrom(1, 3), keysFrom(1, 3)}, {keysFrom(2, 3), keysFrom(1, 3)},
	} {
		from, err := PlanESP(a, []netip.Addr{b, b}, 4790, step.a)
		if err != nil {
			t.Fatal(err)
		}
		to, err := PlanESP(b, []netip.Addr{a}, 4790, step.b)
		if err != nil {
			t.Fatal(err)
		}
		out := slices.IndexFunc(from.Policies, func(p netlink.XfrmPolicy) bool { return p.Dir == netlink.XFRM_DIR_OUT && len(p.Tmpls) == 1 })
		spi := from.Policies[out].Tmpls[0].Spi
		find := func(plan ESPPlan) *netlink.XfrmState {
			for _, s := range plan.States {
				if s.Spi == spi && s.Src.Equal(a.AsSlice()) && s.Dst.Equal(b.AsSlice()) {
					return &s
				}
			}
			return nil
		}
		sent, heard := find(from), find(to)
		if sent == nil || heard == nil || string(sent.Aead.Key) != string(heard.Aead.Key) {
			t.Errorf("keys %d… and %d…: %v cannot be read", step.a[0].ID, step.b[0].ID, sent)
		}
	}
}

// Whatever is on the port and no peer's is discarded, in both directions, and each direction has its own key.
func TestNothingLeavesWithoutAPolicy(t *testing.T) {
	self := netip.MustParseAddr("192.0.2.1")
	plan, err := PlanESP(self, []netip.Addr{netip.MustParseAddr("192.0.2.2")}, 4790, keysFrom(1, 2))
	if err != nil {
		t.Fatal(err)
	}
	blocked := map[netlink.Dir]bool{}
	for _, p := range plan.Policies {
		switch {
		case p.DstPort != 4790 || p.Proto != 17:
			t.Errorf("a policy for other traffic: %v", p)
		case p.Action == netlink.XFRM_POLICY_BLOCK:
			blocked[p.Dir] = p.Priority > espPriority
		case len(p.Tmpls) != 1 || p.Tmpls[0].Optional != 0:
			t.Errorf("a policy that lets plain text pass: %v", p)
		}
	}
	if !blocked[netlink.XFRM_DIR_OUT] || !blocked[netlink.XFRM_DIR_IN] {
		t.Errorf("discarded: %v", blocked)
	}
	seen := map[string]bool{}
	for _, s := range plan.States {
		if seen[string(s.Aead.Key)] {
			t.Error("two states share a key")
		}
		seen[string(s.Aead.Key)] = true
	}
	if _, err := PlanESP(self, nil, 4790, nil); err == nil {
		t.Error("a plan without keys")
	}
}

// Both ends of WireGuard agree on what they share besides their own keys, and no third does.
func TestPresharedKeys(t *testing.T) {
	k := keysFrom(1, 1)[0]
	ab, _ := presharedKey(k, "a", "b")
	ba, _ := presharedKey(k, "b", "a")
	ac, _ := presharedKey(k, "a", "c")
	if string(ab) != string(ba) || string(ab) == string(ac) || len(ab) != wgtypes.KeyLen {
		t.Errorf("%x %x %x", ab, ba, ac)
	}
	if Inner("a") == Inner("b") || !Inner("a").IsPrivate() {
		t.Errorf("inner addresses %s and %s", Inner("a"), Inner("b"))
	}
}
