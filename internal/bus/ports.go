package bus

import "net/netip"

// A manager has three ports in a row: the first, to which machines come that join, is the one that addresses are given
// with; the bus takes the two above it.
const clientAbove, routeAbove = 1, 2

// ClientAddr is where the workers of the manager at addr connect, and RouteAddr where other managers do. Port 0 stays any.
func ClientAddr(addr netip.AddrPort) string { return above(addr, clientAbove) }

// RouteAddr is described with ClientAddr.
func RouteAddr(addr netip.AddrPort) string { return above(addr, routeAbove) }

func above(a netip.AddrPort, n uint16) string {
	if a.Port() == 0 {
		return a.String()
	}
	return netip.AddrPortFrom(a.Addr(), a.Port()+n).String()
}

// ClientAddrs are the addresses of the managers at addrs for workers, and RouteAddrs those for managers. What is no address is left out.
func ClientAddrs(addrs []string) []string { return each(addrs, ClientAddr) }

// RouteAddrs is described with ClientAddrs.
func RouteAddrs(addrs []string) []string { return each(addrs, RouteAddr) }

func each(addrs []string, of func(netip.AddrPort) string) []string {
	var out []string
	for _, s := range addrs {
		if a, err := netip.ParseAddrPort(s); err == nil {
			out = append(out, of(a))
		}
	}
	return out
}
