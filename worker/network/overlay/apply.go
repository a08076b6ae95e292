package overlay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Apply makes the kernel agree with a plan, and says how much it had to change. The bridge is Docker's to make.
func Apply(p Plan) (int, error) {
	br, err := netlink.LinkByName(Bridge(p.VNI))
	if err != nil {
		return 0, fmt.Errorf("bridge %s: %w", Bridge(p.VNI), err)
	}
	a := &applier{plan: p, bridge: br}
	if err := a.address(); err != nil {
		return a.changes, err
	}
	if len(p.Remotes) == 0 {
		return a.changes, Remove(VXLAN(p.VNI))
	}
	if err := a.device(); err != nil {
		return a.changes, err
	}
	return a.changes, a.entries()
}

type applier struct {
	plan    Plan
	bridge  netlink.Link
	vxlan   netlink.Link
	changes int
}

// address gives the node its own address on the network, and makes the node speak from it: the gateway's is the same on every
// node, and answers to it would stay where they are made.
func (a *applier) address() error {
	p := a.plan
	if !p.NodeIP.Is4() {
		return nil
	}
	have, err := netlink.AddrList(a.bridge, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", a.bridge.Attrs().Name, err)
	}
	own := netlink.Addr{IPNet: &net.IPNet{IP: p.NodeIP.AsSlice(), Mask: net.CIDRMask(32, 32)}}
	found := false
	for _, h := range have {
		found = found || h.Equal(own)
	}
	if !found {
		if err := netlink.AddrAdd(a.bridge, &own); err != nil {
			return fmt.Errorf("give %s the address %s: %w", a.bridge.Attrs().Name, p.NodeIP, err)
		}
		a.changes++
	}
	if a.bridge.Attrs().Flags&net.FlagUp == 0 {
		return nil // a route needs it up; Docker brings it up, and a link event brings us back
	}
	route := netlink.Route{
		LinkIndex: a.bridge.Attrs().Index, Dst: ipNet(p.Subnet), Src: p.NodeIP.AsSlice(), Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_KERNEL,
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &route, netlink.RT_FILTER_DST|netlink.RT_FILTER_OIF)
	if err != nil {
		return fmt.Errorf("list routes of %s: %w", a.bridge.Attrs().Name, err)
	}
	if len(routes) == 1 && routes[0].Src.Equal(route.Src) {
		return nil
	}
	if err := netlink.RouteReplace(&route); err != nil {
		return fmt.Errorf("route %s by %s: %w", p.Subnet, a.bridge.Attrs().Name, err)
	}
	a.changes++
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// device finds the port, or makes VXLAN's, anew if it differs in what cannot be changed.
func (a *applier) device() error {
	p, name := a.plan, VXLAN(a.plan.VNI)
	if err := Clear(p.VNI, p.TAP); err != nil {
		return err
	}
	have, err := find(name)
	if err != nil {
		return err
	}
	if p.TAP {
		if have == nil {
			return fmt.Errorf("%s is gone; it is opened again in a moment", name)
		}
		if err := a.dress(have); err != nil {
			return err
		}
		a.vxlan = have
		return a.join()
	}
	if vx, ok := have.(*netlink.Vxlan); ok &&
		(vx.VxlanId != int(p.VNI) || vx.Port != p.Port || !vx.SrcAddr.Equal(p.Underlay.AsSlice()) || vx.VtepDevIndex != p.Via) {
		if err := netlink.LinkDel(vx); err != nil {
			return fmt.Errorf("replace %s: %w", name, err)
		}
		have = nil
	}
	if have == nil {
		if have, err = a.create(name); err != nil {
			return err
		}
	}
	a.vxlan = have
	return a.join()
}

// find is a device, nil if there is none.
func find(name string) (netlink.Link, error) {
	have, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", name, err)
	}
	return have, nil
}

// Clear removes a network's port if it is of the other kind: VXLAN's, or one that a process has opened.
func Clear(vni uint32, tap bool) error {
	have, err := find(VXLAN(vni))
	if have == nil || err != nil {
		return err
	}
	if _, is := have.(*netlink.Tuntap); is == tap {
		return nil
	}
	if err := netlink.LinkDel(have); err != nil {
		return fmt.Errorf("replace %s: %w", VXLAN(vni), err)
	}
	return nil
}

// dress gives a port that was opened elsewhere the node's hardware address and the network's MTU.
func (a *applier) dress(l netlink.Link) error {
	if at, hw := l.Attrs(), MAC(a.plan.NodeIP); a.plan.NodeIP.Is4() && at.HardwareAddr.String() != hw.String() {
		if err := netlink.LinkSetHardwareAddr(l, hw); err != nil {
			return fmt.Errorf("hardware address of %s: %w", at.Name, err)
		}
		at.HardwareAddr = hw
		a.changes++
	}
	if at := l.Attrs(); a.plan.MTU > 0 && at.MTU != a.plan.MTU {
		if err := netlink.LinkSetMTU(l, a.plan.MTU); err != nil {
			return fmt.Errorf("MTU of %s: %w", at.Name, err)
		}
		a.changes++
	}
	return nil
}

func (a *applier) create(name string) (netlink.Link, error) {
	p := a.plan
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, p.MTU
	if p.NodeIP.Is4() { // so that the bridge takes frames to the node's address without a change of its own
		attrs.HardwareAddr = MAC(p.NodeIP)
	}
	err := netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: int(p.VNI), SrcAddr: p.Underlay.AsSlice(), Port: p.Port, VtepDevIndex: p.Via, Learning: false})
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	a.changes++
	return netlink.LinkByName(name)
}

func (a *applier) join() error {
	at := a.vxlan.Attrs()
	if at.MasterIndex == a.bridge.Attrs().Index && at.Flags&net.FlagUp != 0 {
		return nil
	}
	a.changes++
	for _, do := range []func() error{
		func() error { return netlink.LinkSetMaster(a.vxlan, a.bridge) },
		func() error { return netlink.LinkSetLearning(a.vxlan, false) },
		func() error { return netlink.LinkSetFlood(a.vxlan, false) },
		func() error { return netlink.LinkSetBrNeighSuppress(a.vxlan, true) },
		func() error { return netlink.LinkSetUp(a.vxlan) },
	} {
		if err := do(); err != nil {
			return fmt.Errorf("put %s on %s: %w", at.Name, a.bridge.Attrs().Name, err)
		}
	}
	return nil
}

// Remove takes a device away, if it is there.
func Remove(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil // it is not
	}
	if err := netlink.LinkDel(link); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}
