package crypt

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// reqid marks what is ours among a machine's IPsec states and policies.
	reqid = 0x6f726368 // "orch"
	// blockPriority is behind the peers' policies: what none of them covers is discarded.
	espPriority, blockPriority = 100, 200
	// aeadName and its sizes: AES-256-GCM with a salt of 4 bytes and a tag of 16 (RFC 4106).
	aeadName, aeadKey, aeadTag = "rfc4106(gcm(aes))", 32 + 4, 128
)

// ESPPlan is what IPsec has to do for the VXLAN port of encrypted networks.
type ESPPlan struct {
	States   []netlink.XfrmState
	Policies []netlink.XfrmPolicy
}

// PlanESP plans for a node and its peers. Each direction between two nodes has keys of its own; a node hears all of the
// cluster's keys and speaks with the primary one, so that a rotation loses nothing.
func PlanESP(self netip.Addr, peers []netip.Addr, port int, keys []Key) (ESPPlan, error) {
	var plan ESPPlan
	primary, ok := Primary(keys)
	if !ok {
		return plan, errors.New("the managers have sent no key")
	}
	for _, peer := range slices.Compact(slices.SortedFunc(slices.Values(peers), netip.Addr.Compare)) {
		for _, k := range keys {
			in, err := espState(peer, self, k)
			if err != nil {
				return plan, err
			}
			out, err := espState(self, peer, k)
			if err != nil {
				return plan, err
			}
			plan.States = append(plan.States, in, out)
		}
		plan.Policies = append(plan.Policies,
			espPolicy(netlink.XFRM_DIR_OUT, self, peer, port, spi(self, peer, primary.ID)),
			espPolicy(netlink.XFRM_DIR_IN, peer, self, port, 0))
	}
	plan.Policies = append(plan.Policies, block(netlink.XFRM_DIR_OUT, self, port), block(netlink.XFRM_DIR_IN, self, port))
	return plan, nil
}

// spi names a state; it is the same on both ends, and differs by direction and key.
func spi(src, dst netip.Addr, key uint64) int {
	h := fnv.New32a()
	fmt.Fprint(h, src, dst, key)
	return int(h.Sum32() | 1<<31 | 0x100) // below 256 is reserved
}

func espState(src, dst netip.Addr, k Key) (netlink.XfrmState, error) {
	material, err := derive(k, aeadKey, "esp", src.String(), dst.String())
	if err != nil {
		return netlink.XfrmState{}, err
	}
	return netlink.XfrmState{
		Src: src.AsSlice(), Dst: dst.AsSlice(), Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TRANSPORT,
		Spi: spi(src, dst, k.ID), Reqid: reqid, ReplayWindow: 64,
		Aead: &netlink.XfrmStateAlgo{Name: aeadName, Key: material, ICVLen: aeadTag},
	}, nil
}

func espPolicy(dir netlink.Dir, src, dst netip.Addr, port, spi int) netlink.XfrmPolicy {
	return netlink.XfrmPolicy{
		Src: host(src), Dst: host(dst), Proto: unix.IPPROTO_UDP, DstPort: port, Dir: dir, Priority: espPriority,
		Tmpls: []netlink.XfrmPolicyTmpl{{
			Src: src.AsSlice(), Dst: dst.AsSlice(), Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TRANSPORT, Spi: spi, Reqid: reqid,
		}},
	}
}

// block discards what is on the port and no peer's, in whatever way that came about.
func block(dir netlink.Dir, self netip.Addr, port int) netlink.XfrmPolicy {
	p := netlink.XfrmPolicy{Proto: unix.IPPROTO_UDP, DstPort: port, Dir: dir, Priority: blockPriority, Action: netlink.XFRM_POLICY_BLOCK}
	everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if self.Is6() {
		everything = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	all := &net.IPNet{IP: everything.Addr().AsSlice(), Mask: net.CIDRMask(0, self.BitLen())}
	p.Src, p.Dst = all, all
	return p
}

func host(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

// Apply makes the kernel agree: what discards comes first, and goes last.
func (p ESPPlan) Apply(port int) error {
	states, err := netlink.XfrmStateList(netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list IPsec states: %w", err)
	}
	policies, err := netlink.XfrmPolicyList(netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list IPsec policies: %w", err)
	}
	if err := p.applyPolicies(policies, netlink.XFRM_POLICY_BLOCK); err != nil {
		return err
	}
	if err := p.applyStates(states); err != nil {
		return err
	}
	if err := p.applyPolicies(policies, netlink.XFRM_POLICY_ALLOW); err != nil {
		return err
	}
	return p.sweep(states, policies, port)
}

func (p ESPPlan) applyPolicies(have []netlink.XfrmPolicy, action netlink.PolicyAction) error {
	for _, want := range p.Policies {
		if want.Action != action || slices.ContainsFunc(have, func(h netlink.XfrmPolicy) bool { return policyKey(h) == policyKey(want) }) {
			continue
		}
		if err := netlink.XfrmPolicyUpdate(&want); err != nil {
			return fmt.Errorf("set the IPsec policy %s: %w", policyKey(want), err)
		}
	}
	return nil
}

func (p ESPPlan) applyStates(have []netlink.XfrmState) error {
	for _, want := range p.States {
		if slices.ContainsFunc(have, func(h netlink.XfrmState) bool { return stateKey(h) == stateKey(want) }) {
			continue
		}
		if err := netlink.XfrmStateAdd(&want); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add the IPsec state from %s to %s: %w", want.Src, want.Dst, err)
		}
	}
	return nil
}

// sweep removes what is ours and not planned, discarding policies last.
func (p ESPPlan) sweep(states []netlink.XfrmState, policies []netlink.XfrmPolicy, port int) error {
	var errs []error
	for _, action := range []netlink.PolicyAction{netlink.XFRM_POLICY_ALLOW, netlink.XFRM_POLICY_BLOCK} {
		for _, h := range policies {
			if h.Action != action || !ownPolicy(h, port) || slices.ContainsFunc(p.Policies, func(w netlink.XfrmPolicy) bool { return samePlace(w, h) }) {
				continue
			}
			errs = append(errs, netlink.XfrmPolicyDel(&h))
		}
	}
	for _, h := range states {
		if h.Reqid == reqid && !slices.ContainsFunc(p.States, func(w netlink.XfrmState) bool { return stateKey(w) == stateKey(h) }) {
			errs = append(errs, netlink.XfrmStateDel(&h))
		}
	}
	return errors.Join(errs...)
}

func ownPolicy(h netlink.XfrmPolicy, port int) bool {
	if h.Action == netlink.XFRM_POLICY_BLOCK {
		return h.DstPort == port && h.Proto == unix.IPPROTO_UDP && h.Priority == blockPriority
	}
	return len(h.Tmpls) == 1 && h.Tmpls[0].Reqid == reqid
}

// samePlace says that setting one policy replaces the other.
func samePlace(a, b netlink.XfrmPolicy) bool {
	return a.Dir == b.Dir && a.DstPort == b.DstPort && a.Action == b.Action && text(a.Src) == text(b.Src) && text(a.Dst) == text(b.Dst)
}

func policyKey(p netlink.XfrmPolicy) string {
	spi := 0
	if len(p.Tmpls) == 1 {
		spi = p.Tmpls[0].Spi
	}
	return fmt.Sprint(p.Dir, p.Action, text(p.Src), text(p.Dst), p.DstPort, spi)
}

func stateKey(s netlink.XfrmState) string {
	return s.Src.String() + ">" + s.Dst.String() + " " + strconv.Itoa(s.Spi)
}

func text(n *net.IPNet) string {
	if n == nil {
		return ""
	}
	return n.String()
}

// ClearESP takes away everything of ours.
func ClearESP(port int) error { return ESPPlan{}.Apply(port) }
