package overlay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Present says whether the node still has a network's bridge, and the port to its peers if the network has any.
func Present(vni uint32, peers bool) (bool, error) {
	br, err := netlink.LinkByName(Bridge(vni))
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", Bridge(vni), err)
	}
	if !peers {
		return true, nil
	}
	vx, err := netlink.LinkByName(VXLAN(vni))
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", VXLAN(vni), err)
	}
	return vx.Attrs().MasterIndex == br.Attrs().Index && vx.Attrs().Flags&net.FlagUp != 0, nil
}

// Restore is a bridge that was deleted under its containers.
type Restore struct {
	VNI     uint32
	Gateway netip.Prefix // the address, with the length of the subnet
	MTU     int
	// MAC is the address by which the containers know the gateway, if they do.
	MAC net.HardwareAddr
	// Ports are the devices on the node that lead to the containers.
	Ports []int
}

// Do makes the bridge as the engine had it. It does nothing if there is one.
func (r Restore) Do() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = Bridge(r.VNI), r.MAC
	if len(r.MAC) == 0 {
		attrs.HardwareAddr = MAC(r.Gateway.Addr())
	}
	br := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(br); err != nil {
		if _, there := netlink.LinkByName(attrs.Name); there == nil {
			return nil // the engine was faster
		}
		return fmt.Errorf("make %s: %w", attrs.Name, err)
	}
	own := &netlink.Addr{IPNet: &net.IPNet{IP: r.Gateway.Addr().AsSlice(), Mask: net.CIDRMask(r.Gateway.Bits(), 32)}}
	if err := netlink.AddrAdd(br, own); err != nil {
		return fmt.Errorf("give %s the address %s: %w", attrs.Name, r.Gateway, err)
	}
	for _, index := range r.Ports {
		port, err := netlink.LinkByIndex(index)
		if err != nil {
			continue // its container has ended
		}
		if err := netlink.LinkSetMaster(port, br); err != nil {
			return fmt.Errorf("put %s on %s: %w", port.Attrs().Name, attrs.Name, err)
		}
	}
	if r.MTU > 0 {
		if err := netlink.LinkSetMTU(br, r.MTU); err != nil {
			return fmt.Errorf("set the MTU of %s: %w", attrs.Name, err)
		}
	}
	if err := netlink.LinkSetUp(br); err != nil {
		return fmt.Errorf("bring %s up: %w", attrs.Name, err)
	}
	return nil
}
