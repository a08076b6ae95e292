package allocator

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"orch/internal/store"
)

var (
	errNoAddress = errors.New("could not find an available IP")
	//lint:ignore ST1005 Docker's words
	errTaken = errors.New("Address already in use")
)

// pool hands out the addresses of one family of one network.
type pool struct {
	subnet netip.Prefix
	within netip.Prefix // where addresses are taken from: the subnet or a part of it
	used   map[netip.Addr]bool
	next   netip.Addr // where the search begins
	moved  bool
}

// poolKey tells the pools of a network apart.
type poolKey struct {
	network string
	six     bool
}

// pool is the network's IPv4 pool; what is taken in it is what objects hold.
func (a *allocation) pool(n *store.Network) *pool { return a.poolOf(n, false) }

// pool6 is the network's IPv6 pool, nil without IPv6.
func (a *allocation) pool6(n *store.Network) *pool {
	if p := a.poolOf(n, true); p.subnet.IsValid() {
		return p
	}
	return nil
}

func (a *allocation) poolOf(n *store.Network, six bool) *pool {
	key := poolKey{n.ID, six}
	if p := a.pools[key]; p != nil {
		return p
	}
	p := &pool{used: map[netip.Addr]bool{}}
	a.pools[key] = p
	for _, c := range n.IPAMOptions.Configs {
		subnet, err := netip.ParsePrefix(c.Subnet)
		if err != nil || subnet.Addr().Is6() != six || p.subnet.IsValid() {
			continue
		}
		p.subnet, p.within = subnet.Masked(), subnet.Masked()
		if within, err := netip.ParsePrefix(c.Range); err == nil && p.subnet.Contains(within.Addr()) {
			p.within = within.Masked()
		}
		p.take(c.Gateway)
	}
	if !p.subnet.IsValid() {
		return p
	}
	p.used[p.subnet.Addr()], p.used[last(p.subnet)] = true, true // the network's and broadcast
	a.takeHeld(p, n.ID)
	p.next = p.within.Addr()
	for _, at := range []string{n.NextAddr, n.NextAddr6} {
		if next, err := netip.ParseAddr(at); err == nil && p.within.Contains(next) {
			p.next = next
		}
	}
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

// claim takes one address that was asked for.
func (p *pool) claim(addr netip.Addr) (netip.Prefix, error) {
	switch {
	case !p.subnet.Contains(addr):
		return netip.Prefix{}, fmt.Errorf("no configured subnet contains IP address %s", addr)
	case p.used[addr]:
		return netip.Prefix{}, errTaken
	}
	p.used[addr] = true
	return netip.PrefixFrom(addr, p.subnet.Bits()), nil
}

func (p *pool) release(addr string) {
	if prefix, err := netip.ParsePrefix(addr); err == nil {
		delete(p.used, prefix.Addr())
	}
}

// addresses are a task's on a network, one of each family: those asked for, or the next free ones.
func (a *allocation) addresses(n *store.Network, asked ...netip.Addr) (all []string, err error) {
	pools := []*pool{a.pool(n)}
	if six := a.pool6(n); six != nil {
		pools = append(pools, six)
	}
	taken := 0
	for _, p := range pools {
		var addr netip.Prefix
		if i := slices.IndexFunc(asked, func(x netip.Addr) bool { return x.Is4() == p.subnet.Addr().Is4() }); i >= 0 {
			addr, err = p.claim(asked[i])
			taken++
		} else {
			addr, err = p.allocate()
		}
		if err != nil {
			a.release(n.ID, all)
			return nil, err
		}
		all = append(all, addr.String())
	}
	if taken < len(asked) {
		a.release(n.ID, all)
		return nil, fmt.Errorf("no configured subnet contains IP address %s", asked[len(asked)-1])
	}
	return all, nil
}

// release frees addresses that were taken in this run.
func (a *allocation) release(network string, addrs []string) {
	for _, addr := range addrs {
		for _, six := range []bool{false, true} {
			if p := a.pools[poolKey{network, six}]; p != nil {
				p.release(addr)
			}
		}
	}
}
