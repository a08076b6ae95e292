package crypt

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// offloads are what the kernel may leave to us: checksums and TCP segmentation. Source: linux/if_tun.h.
const offloads = 0x01 | 0x02 | 0x04

// Segment is one encrypted network on this node.
type Segment struct {
	// Device is the name of its port on the bridge.
	Device  string
	Subnet  netip.Prefix
	Subnet6 netip.Prefix // invalid without IPv6
	// MACs are the hardware addresses of the IPv6 addresses on this node; those of IPv4 addresses follow from them.
	MACs map[netip.Addr]net.HardwareAddr
}

func (s *Segment) contains(a netip.Addr) bool { return s.Subnet.Contains(a) || s.Subnet6.Contains(a) }

// tap is an open port.
type tap struct {
	file *os.File
	fd   int
	raw  chan []byte // buffers that nobody reads into
}

// rawFrames is how many frames of one network may wait to be cut up.
const rawFrames = 4

// openTAP makes a network's port. It is gone with the file.
func openTAP(s Segment) (*tap, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	t := &tap{fd: fd, raw: make(chan []byte, rawFrames)}
	if err := t.set(s); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	for range rawFrames {
		t.raw <- make([]byte, virtioLen+ethLen+maxPacket)
	}
	t.file = os.NewFile(uintptr(fd), s.Device)
	return t, nil
}

func (t *tap) set(s Segment) error {
	req, err := unix.NewIfreq(s.Device)
	if err != nil {
		return fmt.Errorf("device name %s: %w", s.Device, err)
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(t.fd, unix.TUNSETIFF, req); err != nil {
		return fmt.Errorf("make %s: %w", s.Device, err)
	}
	if err := unix.IoctlSetInt(t.fd, unix.TUNSETOFFLOAD, offloads); err != nil {
		return fmt.Errorf("offloads of %s: %w", s.Device, err)
	}
	if err := unix.SetNonblock(t.fd, true); err != nil { // for the runtime's poller
		return fmt.Errorf("open %s: %w", s.Device, err)
	}
	return nil
}

// write sends packets to the bridge, those of one connection together.
func (t *tap) write(s *Segment, packets [][]byte) error {
	var errs []error
	var head [virtioLen + ethLen]byte
	iov := make([][]byte, 0, maxJoined+2)
	for _, tr := range join(packets) {
		src, dst, ok := ends(tr.first)
		if !ok {
			continue
		}
		clear(head[:])
		o := tr.headers()
		o.write(head[:])
		copy(head[virtioLen:], s.mac(dst))
		copy(head[virtioLen+6:], s.mac(src))
		kind := uint16(typeIPv4)
		if dst.Is6() {
			kind = typeIPv6
		}
		head[virtioLen+12], head[virtioLen+13] = byte(kind>>8), byte(kind)
		iov = append(iov[:0], head[:])
		if len(tr.payloads) > 1 {
			iov = append(append(iov, tr.first[:tr.head]), tr.payloads...)
		} else {
			iov = append(iov, tr.first)
		}
		if _, err := unix.Writev(t.fd, iov); err != nil && !errors.Is(err, unix.EIO) { // EIO: the device is down, like a cable
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// mac is the hardware address of an address on the network. One that is not known is nobody's.
func (s *Segment) mac(a netip.Addr) net.HardwareAddr {
	if a.Is4() {
		b := a.As4()
		return net.HardwareAddr{0x02, 0x42, b[0], b[1], b[2], b[3]}
	}
	if m := s.MACs[a]; m != nil {
		return m
	}
	return net.HardwareAddr{0x02, 0x42, 0, 0, 0, 0}
}
