package vip

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Device is a namespace's device on a network.
type Device struct {
	// Peer is the index of the device's other end on the node.
	Peer int
	// Gateway is the hardware address by which the namespace knows the network's gateway, if it does.
	Gateway net.HardwareAddr
}

// Device finds the device that has an address of a network.
func (s *Space) Device(subnet netip.Prefix, gateway netip.Addr) (Device, bool, error) {
	h, err := netlink.NewHandleAt(s.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return Device{}, false, fmt.Errorf("look into a task's namespace: %w", err)
	}
	defer h.Close()
	addrs, err := h.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return Device{}, false, fmt.Errorf("list the addresses of a task's namespace: %w", err)
	}
	for _, a := range addrs {
		if !subnet.Contains(addr(a.IP)) {
			continue
		}
		link, err := h.LinkByIndex(a.LinkIndex)
		if err != nil {
			return Device{}, false, fmt.Errorf("look at a device of a task's namespace: %w", err)
		}
		d := Device{Peer: link.Attrs().ParentIndex}
		if known, err := h.NeighList(a.LinkIndex, netlink.FAMILY_V4); err == nil {
			for _, n := range known {
				if addr(n.IP) == gateway {
					d.Gateway = n.HardwareAddr
				}
			}
		}
		return d, true, nil
	}
	return Device{}, false, nil
}
