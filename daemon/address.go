package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// defaultPort is Swarm's. The bus takes the two ports above it.
const defaultPort = 2377

// errAddress says that what was given is no address.
var errAddress = errors.New("no such address")

// address reads ADDRESS|INTERFACE[:PORT], Swarm's form for --listen-addr and
// --advertise-addr.
func address(s string, port uint16) (netip.AddrPort, error) {
	host := s
	if h, p, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("%w: invalid port %q in %q", errAddress, p, s)
		}
		host, port = h, uint16(n)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return netip.AddrPortFrom(ip.Unmap(), port), nil
	}
	ip, err := interfaceAddress(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(ip, port), nil
}

func interfaceAddress(name string) (netip.Addr, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%w: %q is neither an IP address nor a network interface of this machine", errAddress, name)
	}
	addrs, err := i.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("addresses of interface %s: %w", name, err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("interface %s has no usable IP address", name)
}

// systemAddress is the address that others most likely reach this machine by:
// the one its default route leaves from, else the only one there is.
// Swarm refuses to guess when there are several; a single machine has no others
// to be reached by, so orch takes the loopback address when there is none at all.
func systemAddress() (netip.Addr, error) {
	// Connecting a datagram socket sends nothing; it only asks for the route.
	if conn, err := net.Dial("udp", "192.0.2.1:9"); err == nil {
		defer conn.Close()
		if ap, err := netip.ParseAddrPort(conn.LocalAddr().String()); err == nil {
			return ap.Addr().Unmap(), nil
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("addresses of this machine: %w", err)
	}
	var found []netip.Addr
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			found = append(found, p.Addr())
		}
	}
	switch len(found) {
	case 0:
		return netip.MustParseAddr("127.0.0.1"), nil
	case 1:
		return found[0], nil
	}
	return netip.Addr{}, fmt.Errorf("could not choose an IP address to advertise since this system has multiple addresses (%v) - specify one with --advertise-addr", found)
}
