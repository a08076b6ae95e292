package allocator

import (
	"errors"
	"net/netip"

	"orch/internal/store"
)

var errNoAddress = errors.New("could not find an available IP")

// pool hands out the IPv4 addresses of one network.
type pool struct {
	subnet netip.Prefix
	within netip.Prefix // where addresses are taken from: the subnet or a part of it
	used   map[netip.Addr]bool
	next   netip.Addr // where the search begins
	moved  bool
}

// pool is the network's pool; what is taken in it is what objects hold.
func (a *allocation) pool(n *store.Network) *pool {
	if p := a.pools[n.ID]; p != nil {
		return p
	}
	p := &pool{used: map[netip.Addr]bool{}}
	for _, c := range n.IPAMOptions.Configs {
		subnet, err := netip.ParsePrefix(c.Subnet)
		if err != nil || !subnet.Addr().Is4() {
			continue
		}
		p.subnet, p.within = subnet.Masked(), subnet.Masked()
		if within, err := netip.ParsePrefix(c.Range); err == nil && p.subnet.Contains(within.Addr()) {
			p.within = within.Masked()
		}
		p.take(c.Gateway)
		break
	}
	p.used[p.subnet.Addr()], p.used[last(p.subnet)] = true, true // the network's and broadcast
	a.takeHeld(p, n.ID)
	p.next = p.within.Addr()
	if next, err := netip.ParseAddr(n.NextAddr); err == nil && p.within.Contains(next) {
		p.next = next
	}
	a.pools[n.ID] = p
	return p
}

func (a *allocation) takeHeld(p *pool, network string) {
	for _, s := range a.tx.Services(store.All()) {
		for _, vip := range s.Endpoint.VirtualIPs {
			if vip.NetworkID == network {
				p.take(vip.Addr)
			}
		}
	}
	for _, t := range a.tx.Tasks(store.OnNetwork(network)) {
		if t.Ended() {
			continue
		}
		for _, at := range t.NetworksAttachments {
			if at.Network.ID == network {
				for _, addr := range at.Addresses {
					p.take(addr)
				}
			}
		}
	}
	for _, n := range a.tx.Nodes(store.All()) {
		p.take(n.NetworkAddrs[network])
	}
}

// take marks an address, with or without a prefix length, as used.
func (p *pool) take(addr string) {
	if prefix, err := netip.ParsePrefix(addr); err == nil {
		p.used[prefix.Addr()] = true
	} else if ip, err := netip.ParseAddr(addr); err == nil {
		p.used[ip] = true
	}
}

// allocate is the next free address after the last one that was handed out.
func (p *pool) allocate() (netip.Prefix, error) {
	if !p.within.IsValid() {
		return netip.Prefix{}, errNoAddress
	}
	// Whatever is used can be in the way once.
	for range len(p.used) + 1 {
		addr := p.next
		p.next = addr.Next()
		if !p.within.Contains(p.next) {
			p.next = p.within.Addr()
		}
		if !p.used[addr] {
			p.used[addr], p.moved = true, true
			return netip.PrefixFrom(addr, p.subnet.Bits()), nil
		}
		if p.next == addr {
			break // a range of one
		}
	}
	return netip.Prefix{}, errNoAddress
}

func (p *pool) release(addr string) {
	if prefix, err := netip.ParsePrefix(addr); err == nil {
		delete(p.used, prefix.Addr())
	}
}
