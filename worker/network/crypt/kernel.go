package crypt

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"

	"github.com/vishvananda/netlink"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// kernelDevice is the kernel's WireGuard device of all encrypted networks.
const kernelDevice = "orchwg"

// Inner is a node's address inside WireGuard, where VXLAN goes to and from. It follows from the node's ID.
func Inner(node string) netip.Addr {
	sum := sha256.Sum256([]byte("orch wireguard " + node))
	b := [16]byte{0: 0xfd, 1: 'o', 2: 'r', 3: 'c', 4: 'h'}
	copy(b[8:], sum[:8])
	return netip.AddrFrom16(b)
}

// Kernel is the kernel's WireGuard.
type Kernel struct {
	private wgtypes.Key
	port    int
	have    *wgtypes.Config
}

// NewKernel makes nothing yet.
func NewKernel(private wgtypes.Key, port int) *Kernel { return &Kernel{private: private, port: port} }

// Apply makes the device lead to the peers, each at its inner address only, and returns the device's index.
func (k *Kernel) Apply(node string, peers []Peer, keys []Key) (int, error) {
	link, err := netlink.LinkByName(kernelDevice)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		k.have = nil
		link, err = k.make()
	}
	if err != nil {
		return 0, fmt.Errorf("WireGuard device %s: %w", kernelDevice, err)
	}
	inner := Inner(node)
	// The prefix makes the peers' addresses the device's; without it they lead nowhere else, as they are unique local ones.
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: &net.IPNet{IP: inner.AsSlice(), Mask: net.CIDRMask(40, 128)}}); err != nil {
		return 0, fmt.Errorf("address of %s: %w", kernelDevice, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return 0, fmt.Errorf("start %s: %w", kernelDevice, err)
	}
	want, err := k.config(peers, keys)
	if err != nil || reflect.DeepEqual(k.have, &want) {
		return link.Attrs().Index, err
	}
	c, err := wgctrl.New()
	if err != nil {
		return 0, fmt.Errorf("reach the kernel's WireGuard: %w", err)
	}
	defer c.Close()
	if err := c.ConfigureDevice(kernelDevice, want); err != nil {
		return 0, fmt.Errorf("configure %s: %w", kernelDevice, err)
	}
	k.have = &want
	return link.Attrs().Index, nil
}

func (k *Kernel) make() (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = kernelDevice
	if err := netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs}); err != nil {
		return nil, err
	}
	return netlink.LinkByName(kernelDevice)
}

// config is the whole configuration. A change of it costs each peer a new handshake, one round trip.
func (k *Kernel) config(peers []Peer, keys []Key) (wgtypes.Config, error) {
	c := wgtypes.Config{PrivateKey: &k.private, ListenPort: &k.port, ReplacePeers: true}
	primary, ok := Primary(keys)
	if !ok {
		return c, errors.New("the managers have sent no key")
	}
	for _, p := range peers {
		public, err := wgtypes.ParseKey(p.Public)
		if err != nil {
			continue // a node that cannot yet: nothing goes there
		}
		shared, err := presharedKey(primary, k.private.PublicKey().String(), p.Public)
		if err != nil {
			return c, err
		}
		c.Peers = append(c.Peers, wgtypes.PeerConfig{
			PublicKey: public, PresharedKey: (*wgtypes.Key)(shared), Endpoint: net.UDPAddrFromAddrPort(p.Endpoint),
			ReplaceAllowedIPs: true, AllowedIPs: []net.IPNet{*host(Inner(p.Node))},
		})
	}
	return c, nil
}

// Close takes the device away, and with it every VXLAN device that is bound to it.
func (k *Kernel) Close() error {
	k.have = nil
	link, err := netlink.LinkByName(kernelDevice)
	if err != nil {
		return nil // there is none
	}
	if err := netlink.LinkDel(link); err != nil {
		return fmt.Errorf("remove %s: %w", kernelDevice, err)
	}
	return nil
}
