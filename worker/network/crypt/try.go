package crypt

import (
	"net/netip"

	"github.com/vishvananda/netlink"
)

// TryESP makes a state and policies in the present network namespace, which the caller throws away. A kernel may have the framework without
// the transformation or the cipher, and its configuration does not tell.
func TryESP() error {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	plan, err := PlanESP(a, []netip.Addr{b}, 4790, []Key{{ID: 1, Data: make([]byte, 32)}})
	if err != nil {
		return err
	}
	for _, s := range plan.States {
		if err := netlink.XfrmStateAdd(&s); err != nil {
			return err
		}
	}
	for _, p := range plan.Policies {
		if err := netlink.XfrmPolicyAdd(&p); err != nil {
			return err
		}
	}
	return nil
}

// TryTAP makes a TAP device with offloads in the present network namespace, for a moment.
func TryTAP(name string) error {
	t, err := openTAP(Segment{Device: name})
	if err != nil {
		return err
	}
	return t.file.Close()
}
