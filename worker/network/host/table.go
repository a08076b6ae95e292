package host

import (
	"fmt"
	"net"
	"slices"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"orch/worker/network/ingress"
	"orch/worker/network/nft"
	"orch/worker/network/overlay"
)

const (
	// mark is what connections to published ports are known by, in their conntrack entries. Knowing them by their
	// translation would catch the engine's own ports, and lose the client's address there.
	mark = 0x6f726368
	// ahead of the engine's rules at the same hooks, which are at -100 and 100.
	dnatPriority, snatPriority = -110, 90
	// datagrams counts what was led by UDP, so that no flow is looked for where there can be none.
	datagrams = "udp"
)

// table writes the plan's table of nftables.
type table struct {
	conn *nftables.Conn
	at   *nftables.Table
	maps map[swarm.PortConfigProtocol]*nftables.Set
	post *nftables.Chain
}

func newTable(c *nftables.Conn, name string) *table {
	return &table{conn: c, at: &nftables.Table{Name: name, Family: nftables.TableFamilyIPv4}, maps: map[swarm.PortConfigProtocol]*nftables.Set{}}
}

// begin replaces whatever is there, in the same transaction as what follows: there is no moment without rules.
func (t *table) begin() error {
	c := t.conn
	c.AddTable(t.at)
	c.DelTable(t.at)
	c.AddTable(t.at)
	c.AddObj(&nftables.CounterObj{Table: t.at, Name: datagrams})
	for p := range protocols {
		m := &nftables.Set{Table: t.at, Name: mapOf(p), IsMap: true, KeyType: nftables.TypeInetService, DataType: nftables.TypeVerdict}
		if err := nft.AddSet(c, m, nil); err != nil {
			return fmt.Errorf("encode the map of %s ports: %w", p, err)
		}
		t.maps[p] = m
	}
	t.lead("pre", nftables.ChainHookPrerouting, []expr.Any{ // a container of this node takes the listener: the way back from itself would miss us
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(overlay.BridgePrefix)},
		&expr.Verdict{Kind: expr.VerdictReturn},
	})
	t.lead("out", nftables.ChainHookOutput, []expr.Any{ // so does the node itself by 127.0.0.1, for which the kernel path needs route_localnet
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{127}},
		&expr.Verdict{Kind: expr.VerdictReturn},
	})
	t.post = c.AddChain(&nftables.Chain{
		Table: t.at, Name: "post", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityRef(snatPriority),
	})
	return nil
}

// lead is a chain that looks up the ports of the node's own addresses, but for what the first rule excepts.
func (t *table) lead(name string, hook *nftables.ChainHook, except []expr.Any) {
	chain := t.conn.AddChain(&nftables.Chain{
		Table: t.at, Name: name, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: nftables.ChainPriorityRef(dnatPriority),
	})
	t.rule(chain, except)
	t.rule(chain, []expr.Any{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
		&expr.Verdict{Kind: expr.VerdictReturn},
	})
	for p, number := range protocols {
		rule := []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}},
		}
		if p == swarm.PortConfigProtocolTCP {
			rule = append(rule, begins()...)
		}
		t.rule(chain, append(rule,
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Lookup{SourceRegister: 1, IsDestRegSet: true, SetName: t.maps[p].Name, SetID: t.maps[p].ID},
		))
	}
}

// begins is true of the packet that begins a TCP connection. Where someone took all rules away, nothing tracks connections until they
// are back; then the kernel takes the next packet of one that the listener has meanwhile taken for the first: a task would reset it.
func begins() []expr.Any {
	const flags, fin, syn, rst, ack = 13, 1, 2, 4, 16
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: flags, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{fin | syn | rst | ack}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{syn}},
	}
}

const leadRules = 2 * (2 + 3) // of both chains

func (t *table) rule(c *nftables.Chain, exprs []expr.Any) {
	t.conn.AddRule(&nftables.Rule{Table: t.at, Chain: c, Exprs: exprs})
}

// leave fills the chain that says with which address packets leave the node.
func (t *table) leave(networks []Network) error {
	t.conn.FlushChain(t.post)
	own := &nftables.Set{Table: t.at, Anonymous: true, Constant: true, IsMap: true, KeyType: nftables.TypeIFName, DataType: nftables.TypeIPAddr}
	var from []nftables.SetElement
	for _, n := range networks {
		if n.NodeIP.Is4() {
			from = append(from, nftables.SetElement{Key: ifname(n.Bridge), Val: n.NodeIP.AsSlice()})
		}
	}
	if len(from) > 0 {
		if err := nft.AddSet(t.conn, own, from); err != nil {
			return fmt.Errorf("encode the node's addresses: %w", err)
		}
		t.rule(t.post, []expr.Any{
			&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(mark)},
			&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
			&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: own.Name, SetID: own.ID},
			// The client's port stays where it can. A random one would soon be one that another connection had a minute ago: the task,
			// which remembers that one's timestamps, would refuse this one's first packet.
			&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
		})
	}
	for _, n := range networks {
		if !n.Internal {
			t.rule(t.post, outward(n))
		}
	}
	return nil
}

func leaveRules(networks []Network) (count int) {
	if slices.ContainsFunc(networks, func(n Network) bool { return n.NodeIP.Is4() }) {
		count++
	}
	for _, n := range networks {
		if !n.Internal {
			count++
		}
	}
	return count
}

// outward is a network's way out. The engine has the same rule, until someone flushes it.
func outward(n Network) []expr.Any {
	mask := net.CIDRMask(n.Subnet.Bits(), 32)
	in := func(offset uint32, op expr.CmpOp) []expr.Any {
		return []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
			&expr.Cmp{Op: op, Register: 1, Data: n.Subnet.Masked().Addr().AsSlice()},
		}
	}
	return slices.Concat(in(12, expr.CmpOpEq), in(16, expr.CmpOpNeq), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: ifname(n.Bridge)},
		&expr.Masq{},
	})
}

// ifname is a device's name as the kernel compares it.
func ifname(s string) []byte { return append([]byte(s), make([]byte, unix.IFNAMSIZ-len(s))...) }

func mapOf(p swarm.PortConfigProtocol) string { return string(p) + "_ports" }

func chainOf(t *nftables.Table, p ingress.Port) *nftables.Chain {
	return &nftables.Chain{Table: t, Name: fmt.Sprintf("%s%d", p.Protocol, p.Number)}
}

func number(n uint16) []byte { return []byte{byte(n >> 8), byte(n)} }

// set leads a port to its tasks.
func (t *table) set(p ingress.Port, to Target, known bool) error {
	chain := chainOf(t.at, p)
	if known {
		t.conn.FlushChain(chain)
	} else {
		t.conn.AddChain(chain)
		if err := t.conn.SetAddElements(t.maps[p.Protocol], []nftables.SetElement{t.entry(p, chain)}); err != nil {
			return fmt.Errorf("encode port %s: %w", p, err)
		}
	}
	choose, err := nft.Choose(t.conn, t.at, to.Backends, to.Sticky)
	if err != nil {
		return fmt.Errorf("port %s: %w", p, err)
	}
	remember := []expr.Any{
		&expr.Immediate{Register: 1, Data: binaryutil.NativeEndian.PutUint32(mark)},
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true},
	}
	if p.Protocol == swarm.PortConfigProtocolUDP {
		remember = append(remember, &expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: datagrams})
	}
	// The port's protocol has to be known where its number is translated.
	kind := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocols[p.Protocol]}},
	}
	t.rule(chain, slices.Concat(kind, remember, choose, []expr.Any{
		&expr.Immediate{Register: 2, Data: number(to.Port)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
	}))
	return nil
}

func (t *table) entry(p ingress.Port, chain *nftables.Chain) nftables.SetElement {
	return nftables.SetElement{Key: number(p.Number), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain.Name}}
}

func (t *table) unset(p ingress.Port) error {
	chain := chainOf(t.at, p)
	if err := t.conn.SetDeleteElements(t.maps[p.Protocol], []nftables.SetElement{t.entry(p, chain)}); err != nil {
		return fmt.Errorf("encode port %s: %w", p, err)
	}
	t.conn.FlushChain(chain)
	t.conn.DelChain(chain)
	return nil
}

// led says whether any datagram was led to a task by this table.
func (t *table) led() bool {
	got, err := t.conn.GetObject(&nftables.CounterObj{Table: t.at, Name: datagrams})
	if err != nil {
		return false // there is no such table
	}
	counter, ok := got.(*nftables.CounterObj)
	return ok && counter.Packets > 0
}

// whole says whether the kernel still has all of a plan.
func (t *table) whole(eye *nft.Eye, p Plan) (bool, error) {
	rules, err := eye.Rules(t.at)
	if err != nil || rules != leadRules+leaveRules(p.Networks)+len(p.Ports) {
		return false, err
	}
	want := map[swarm.PortConfigProtocol]int{}
	for port := range p.Ports {
		want[port.Protocol]++
	}
	for protocol := range protocols {
		if n, err := eye.Elements(t.at, mapOf(protocol)); err != nil || n != want[protocol] {
			return false, err
		}
	}
	return true, nil
}
