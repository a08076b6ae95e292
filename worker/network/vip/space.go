package vip

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"orch/worker/network/nft"
)

// tableName is the table's in every task's namespace.
const tableName = "orch"

// ownRules are a table's besides its services', chainRules those of a service that has tasks.
const ownRules, chainRules = 3, 1

// elementsAtOnce keeps a message of netlink below its 64 KiB.
const elementsAtOnce = 400

// udpCounter counts what was sent by UDP, so that no flow is looked for where there can be none: reading all
// of the machine's tracked connections takes tens of milliseconds.
const udpCounter = "udp"

// Space is one network namespace's service addresses. It is not safe for concurrent use.
type Space struct {
	ns   netns.NsHandle
	conn *nftables.Conn
	eye  *nft.Eye
	// seen is the generation of the namespace's rules at which the kernel held all of have; 0 says that someone may have changed them.
	seen uint32
	// have is what the kernel holds; nil says that it is not known.
	have Table
	// udp says that some UDP flow to a service address may be left from an earlier table.
	udp bool

	table *nftables.Table
	vips  *nftables.Set
	dead  *nftables.Set
}

// Open takes hold of the namespace of a process.
func Open(pid int) (*Space, error) {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return nil, fmt.Errorf("open the network namespace of process %d: %w", pid, err)
	}
	own, err := netns.Get()
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("open the node's network namespace: %w", err)
	}
	defer own.Close()
	if ns.Equal(own) {
		ns.Close()
		return nil, fmt.Errorf("process %d has no network namespace of its own", pid)
	}
	s, err := OpenAt(ns)
	if err != nil {
		ns.Close()
	}
	return s, err
}

// OpenAt is Open for a namespace at hand, which the Space closes from now on.
func OpenAt(ns netns.NsHandle) (*Space, error) {
	conn, err := nft.Dial(int(ns))
	if err != nil {
		return nil, fmt.Errorf("open nftables in a task's namespace: %w", err)
	}
	eye, err := nft.Open(int(ns))
	if err != nil {
		_ = conn.CloseLasting()
		return nil, err
	}
	return &Space{ns: ns, conn: conn, eye: eye}, nil
}

// Addrs are the namespace's own IPv4 addresses.
func (s *Space) Addrs() ([]netip.Addr, error) {
	h, err := netlink.NewHandleAt(s.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("look into a task's namespace: %w", err)
	}
	defer h.Close()
	list, err := h.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list the addresses of a task's namespace: %w", err)
	}
	var out []netip.Addr
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok && !ip.IsLoopback() {
			out = append(out, ip)
		}
	}
	return out, nil
}

// Apply makes the namespace's table be the union of the given ones, in one transaction.
func (s *Space) Apply(want ...Table) error {
	unknown := s.have == nil
	c := diff(s.have, want)
	if c.empty() && !unknown {
		return nil
	}
	if unknown {
		s.begin()
	}
	before, err := s.eye.Generation()
	if err != nil {
		return err
	}
	untouched := unknown || before == s.seen
	have := s.have
	s.have, s.seen = nil, 0 // until the kernel has said yes
	next := maps.Clone(have)
	if next == nil {
		next = Table{}
	}
	var fresh []nftables.SetElement
	for _, a := range c.set {
		target, _ := find(want, a)
		_, known := next[a]
		if !known {
			fresh = append(fresh, gotoElement(a))
		}
		if err := s.set(a, target, known, next[a]); err != nil {
			return err
		}
		next[a] = target
	}
	for list := range slices.Chunk(fresh, elementsAtOnce) {
		if err := s.conn.SetAddElements(s.vips, list); err != nil {
			return fmt.Errorf("encode %d service addresses: %w", len(fresh), err)
		}
	}
	for _, a := range c.gone {
		if err := s.unset(a, next[a]); err != nil {
			return err
		}
		delete(next, a)
	}
	if err := s.conn.Flush(); err != nil {
		return fmt.Errorf("program the service addresses of a task: %w", err)
	}
	s.have = next
	// A transaction moves the generation by one: more was someone else's.
	if after, err := s.eye.Generation(); err == nil && untouched && after == before+1 {
		s.seen = after
	}
	return s.forget(c.retired)
}

// begin replaces whatever an earlier process left, in the same transaction as what follows.
func (s *Space) begin() {
	c := s.conn
	s.table = &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}
	if called, err := s.calledByUDP(); err == nil && called { // an error: there is no such table yet
		s.udp = true
	}
	c.AddTable(s.table)
	c.DelTable(s.table)
	c.AddTable(s.table)
	s.vips = &nftables.Set{Table: s.table, Name: "vips", IsMap: true, KeyType: nftables.TypeIPAddr, DataType: nftables.TypeVerdict}
	s.dead = &nftables.Set{Table: s.table, Name: "dead", KeyType: nftables.TypeIPAddr}
	_ = nft.AddSet(c, s.vips, nil) // nothing to encode that could fail
	_ = nft.AddSet(c, s.dead, nil)
	c.AddObj(&nftables.CounterObj{Table: s.table, Name: udpCounter})
	nat := c.AddChain(&nftables.Chain{
		Table: s.table, Name: "out", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	c.AddRule(&nftables.Rule{Table: s.table, Chain: nat, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{127}}, // every task asks for names there
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: udpCounter},
	}})
	c.AddRule(&nftables.Rule{Table: s.table, Chain: nat, Exprs: []expr.Any{
		daddr(), &expr.Lookup{SourceRegister: 1, IsDestRegSet: true, SetName: s.vips.Name, SetID: s.vips.ID},
	}})
	refuse := c.AddChain(&nftables.Chain{
		Table: s.table, Name: "refuse", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: s.table, Chain: refuse, Exprs: []expr.Any{
		daddr(), &expr.Lookup{SourceRegister: 1, SetName: s.dead.Name, SetID: s.dead.ID},
		&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: 3}, // port unreachable: connect says "refused"
	}})
}

func daddr() expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}
}

func gotoElement(a netip.Addr) nftables.SetElement {
	return nftables.SetElement{Key: a.AsSlice(), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: chainName(a)}}
}

func chainName(a netip.Addr) string { return "v" + hex.EncodeToString(a.AsSlice()) }

func (s *Space) set(a netip.Addr, t Target, known bool, old Target) error {
	chain := &nftables.Chain{Table: s.table, Name: chainName(a)}
	key := []nftables.SetElement{{Key: a.AsSlice()}}
	if known {
		s.conn.FlushChain(chain)
	} else {
		s.conn.AddChain(chain)
	}
	wasDead, isDead := known && len(old.Backends) == 0, len(t.Backends) == 0
	switch {
	case isDead && !wasDead:
		if err := s.conn.SetAddElements(s.dead, key); err != nil {
			return fmt.Errorf("encode service address %s: %w", a, err)
		}
	case wasDead && !isDead:
		if err := s.conn.SetDeleteElements(s.dead, key); err != nil {
			return fmt.Errorf("encode service address %s: %w", a, err)
		}
	}
	if isDead {
		return nil
	}
	return s.balance(chain, t)
}

// balance is the one rule of a service's chain: a backend by chance, or by the caller's address.
func (s *Space) balance(chain *nftables.Chain, t Target) error {
	choose, err := nft.Choose(s.conn, s.table, t.Backends, t.Sticky)
	if err != nil {
		return fmt.Errorf("chain %s: %w", chain.Name, err)
	}
	s.conn.AddRule(&nftables.Rule{Table: s.table, Chain: chain, Exprs: append(choose,
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	)})
	return nil
}

func (s *Space) unset(a netip.Addr, old Target) error {
	key := []nftables.SetElement{{Key: a.AsSlice()}}
	if len(old.Backends) == 0 {
		if err := s.conn.SetDeleteElements(s.dead, key); err != nil {
			return fmt.Errorf("encode service address %s: %w", a, err)
		}
	}
	if err := s.conn.SetDeleteElements(s.vips, []nftables.SetElement{gotoElement(a)}); err != nil {
		return fmt.Errorf("encode service address %s: %w", a, err)
	}
	chain := &nftables.Chain{Table: s.table, Name: chainName(a)}
	s.conn.FlushChain(chain)
	s.conn.DelChain(chain)
	return nil
}

// forget ends the UDP flows to backends that an address does not lead to any more: a flow from the same source port would
// stay with them for ever. TCP connections end by themselves.
func (s *Space) forget(retired map[netip.Addr][]netip.Addr) error {
	if len(retired) == 0 {
		return nil
	}
	if called, err := s.calledByUDP(); err != nil || !called && !s.udp {
		return err
	}
	h, err := netlink.NewHandleAt(s.ns, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open connection tracking in a task's namespace: %w", err)
	}
	defer h.Close()
	if _, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, flows(retired)); err != nil {
		return fmt.Errorf("end the flows to removed tasks: %w", err)
	}
	return nil
}

func (s *Space) calledByUDP() (bool, error) {
	got, err := s.conn.GetObject(&nftables.CounterObj{Table: s.table, Name: udpCounter})
	if err != nil {
		return false, fmt.Errorf("count datagrams to service addresses: %w", err)
	}
	counter, ok := got.(*nftables.CounterObj)
	return ok && counter.Packets > 0, nil
}

// flows picks UDP flows by the address that was called and the backend that answers.
type flows map[netip.Addr][]netip.Addr

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f flows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	for _, b := range f[addr(flow.Forward.DstIP)] {
		if addr(flow.Reverse.SrcIP) == b {
			return true
		}
	}
	return false
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// Whole says whether the namespace still holds what Apply wrote. After a no, the next Apply writes all of it anew.
func (s *Space) Whole() (bool, error) {
	if s.have == nil {
		return true, nil // nothing was written
	}
	generation, err := s.eye.Generation()
	if err != nil || generation == s.seen {
		return true, err
	}
	live, dead := 0, 0
	for _, t := range s.have {
		if len(t.Backends) == 0 {
			dead++
		} else {
			live++
		}
	}
	rules, err := s.eye.Rules(s.table)
	if err != nil {
		return true, err
	}
	addresses, err := s.eye.Elements(s.table, s.vips.Name)
	if err != nil {
		return true, err
	}
	refused, err := s.eye.Elements(s.table, s.dead.Name)
	if err != nil {
		return true, err
	}
	if rules != ownRules+chainRules*live || addresses != live+dead || refused != dead {
		s.have, s.seen = nil, 0
		return false, nil
	}
	s.seen = generation
	return true, nil
}

// Clear removes the table.
func (s *Space) Clear() error {
	t := &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}
	s.conn.AddTable(t)
	s.conn.DelTable(t)
	s.have, s.seen = nil, 0
	if err := s.conn.Flush(); err != nil {
		return fmt.Errorf("remove the service addresses of a task: %w", err)
	}
	return nil
}

// Close lets go of the namespace and leaves its rules.
func (s *Space) Close() {
	_ = s.conn.CloseLasting()
	s.eye.Close()
	s.ns.Close()
}
