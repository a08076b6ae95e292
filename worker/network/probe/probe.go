// Package probe finds out what a node's kernel can do by doing it, in a network namespace that is thrown away. It reads no
// configuration and changes nothing of the node's.
package probe

import (
	"fmt"
	"runtime"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"orch/worker/network/crypt"
)

// Result is what failed; nil says that the kernel can do it.
type Result struct {
	Namespace error // a network namespace of one's own
	Bridge    error
	VXLAN     error
	NAT       error // nftables' address translation with a map and a random choice
	Ports     error // what leading published ports takes beyond it: the kind of an address, marks, the way back
	// How traffic between nodes can be encrypted; one is enough.
	ESP       error // the kernel's IPsec with AES-GCM
	WireGuard error // the kernel's
	TAP       error // what WireGuard in this process needs
}

// Conditions says in words what is missing.
func (r Result) Conditions() []string {
	var out []string
	if r.Namespace != nil {
		return []string{fmt.Sprintf("no service names or addresses, no overlay across nodes: %v", r.Namespace)}
	}
	if r.Bridge != nil {
		out = append(out, fmt.Sprintf("no overlay support: bridge: %v", r.Bridge))
	}
	if r.VXLAN != nil {
		out = append(out, fmt.Sprintf("no overlay support across nodes: vxlan: %v", r.VXLAN))
	}
	if r.ESP != nil && r.WireGuard != nil && r.TAP != nil {
		out = append(out, fmt.Sprintf("no encrypted networks: esp: %v; wireguard: %v; tap: %v", r.ESP, r.WireGuard, r.TAP))
	}
	if r.NAT != nil {
		out = append(out, fmt.Sprintf("services resolve to their tasks' addresses (dnsrr): nftables: %v", r.NAT))
	}
	if r.NAT == nil && r.Ports != nil {
		out = append(out, fmt.Sprintf("published ports pass through the daemon, and not while it restarts: nftables: %v", r.Ports))
	}
	return out
}

// Services says whether tasks' namespaces can have service addresses.
func (r Result) Services() bool { return r.Namespace == nil && r.NAT == nil }

// Encryption is how the node can encrypt, the fastest way first.
func (r Result) Encryption() (ways []string) {
	if r.Overlay() != nil {
		return nil
	}
	for _, w := range []struct {
		err  error
		name string
	}{{r.ESP, crypt.ESP}, {r.WireGuard, crypt.WireGuard}, {r.TAP, crypt.Userspace}} {
		if w.err == nil {
			ways = append(ways, w.name)
		}
	}
	return ways
}

// Overlay says whether networks can span nodes.
func (r Result) Overlay() error {
	for _, err := range []error{r.Namespace, r.Bridge, r.VXLAN} {
		if err != nil {
			return err
		}
	}
	return nil
}

// Kernel tries.
func Kernel() Result {
	done := make(chan Result, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine and takes the namespace with it.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- Result{Namespace: fmt.Errorf("make a network namespace: %w", err)}
			return
		}
		done <- Result{Bridge: bridge(), VXLAN: vxlan(), NAT: nat(), Ports: ports(), ESP: crypt.TryESP(), WireGuard: wireguard(), TAP: crypt.TryTAP("probe3")}
	}()
	return <-done
}

func bridge() error {
	return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: named("probe0")})
}

func vxlan() error {
	vx := &netlink.Vxlan{LinkAttrs: named("probe1"), VxlanId: 4096, Port: 4789}
	if err := netlink.LinkAdd(vx); err != nil {
		return err
	}
	br, err := netlink.LinkByName("probe0")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetMaster(vx, br); err != nil {
		return err
	}
	return netlink.LinkSetBrNeighSuppress(vx, true)
}

func wireguard() error {
	return netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: named("probe2")})
}

func named(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

func nat() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Name: "probe", Family: nftables.TableFamilyIPv4})
	chain := c.AddChain(&nftables.Chain{
		Table: t, Name: "out", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	m := &nftables.Set{Table: t, Anonymous: true, Constant: true, IsMap: true, KeyType: nftables.TypeInteger, DataType: nftables.TypeIPAddr}
	if err := c.AddSet(m, []nftables.SetElement{{Key: binaryutil.NativeEndian.PutUint32(0), Val: []byte{127, 0, 0, 1}}}); err != nil {
		return err
	}
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
		&expr.Numgen{Register: 1, Modulus: 1, Type: unix.NFT_NG_RANDOM},
		&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: m.Name, SetID: m.ID},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}})
	return c.Flush()
}

func ports() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Name: "probe", Family: nftables.TableFamilyIPv4})
	pre := c.AddChain(&nftables.Chain{
		Table: t, Name: "pre", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	c.AddRule(&nftables.Rule{Table: t, Chain: pre, Exprs: []expr.Any{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Immediate{Register: 1, Data: binaryutil.NativeEndian.PutUint32(1)},
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true},
	}})
	post := c.AddChain(&nftables.Chain{
		Table: t, Name: "post", Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	c.AddRule(&nftables.Rule{Table: t, Chain: post, Exprs: []expr.Any{&expr.Masq{}}})
	return c.Flush()
}
