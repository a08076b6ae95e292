package host

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/worker/network/ingress"
	"orch/worker/network/nft"
)

// legacyLook is how often rules are looked at that are not nftables', and whose changes nothing tells of.
const legacyLook = 1500 * time.Millisecond

// Host is the node's own namespace. It is not safe for concurrent use.
type Host struct {
	table   *table
	eye     *nft.Eye
	accepts *accepts
	// have is what the kernel holds; nil says that it is not known.
	have *Plan
	// seen is the generation of the rules at which the kernel held all of it; 0 says that someone may have changed them since.
	seen   uint32
	looked time.Time // when iptables' rules were found right
	// udp says that some UDP flow may be left from an earlier table.
	udp bool
	// unanswered are tasks that TCP connections may still wait for.
	unanswered map[ingress.Port][]netip.Addr
}

// Open prepares for the rules of an instance, and changes nothing.
func Open(ctx context.Context, instance string) (*Host, error) {
	conn, err := nft.Dial(0)
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	eye, err := nft.Open(0)
	if err != nil {
		_ = conn.CloseLasting()
		return nil, err
	}
	return &Host{
		table: newTable(conn, "orch_"+instance), eye: eye, accepts: newAccepts(ctx, instance), unanswered: map[ingress.Port][]netip.Addr{},
	}, nil
}

// Forwards says whether what the kernel leads would get past the engine's firewall, given that the engine uses nftables itself.
func (h *Host) Forwards(engineNFT bool) bool { return engineNFT || h.accepts.tool != "" }

// Apply makes the rules be the plan's, also where someone else has changed them, and says what it had to restore.
func (h *Host) Apply(ctx context.Context, p Plan) (restored []string, err error) {
	if p.empty() { // a node without networks has no rules
		if h.have == nil || !h.have.empty() {
			if err := h.Clear(ctx); err != nil {
				return nil, err
			}
			h.have = &p
		}
		return nil, nil
	}
	if h.have != nil && h.have.empty() {
		h.have = nil
	}
	generation, err := h.eye.Generation()
	if err != nil {
		return nil, err
	}
	untouched := generation == h.seen
	if untouched && h.have != nil && h.have.equal(p) && !h.stale() {
		return nil, nil
	}
	if !untouched && h.have != nil {
		whole, err := h.table.whole(h.eye, *h.have)
		if err != nil {
			return nil, err
		}
		if !whole {
			h.have = nil
			restored = append(restored, "published ports (nftables)")
		}
	}
	accepted := untouched && h.have != nil && h.have.sameAccepts(p) && !h.stale()
	h.seen = 0
	wrote, err := h.write(p)
	if err != nil {
		return restored, err
	}
	if !accepted {
		changed, again, err := h.accepts.apply(ctx, p)
		if err != nil || changed {
			if again {
				restored = append(restored, "accepted traffic (iptables)")
			}
			return restored, err // and look again next time
		}
		h.looked = time.Now()
	}
	// A transaction moves the generation by one: more was someone else's.
	if after, err := h.eye.Generation(); err == nil && after == generation+wrote {
		h.seen = after
	}
	return restored, nil
}

// stale says that the rules of iptables may have changed unseen.
func (h *Host) stale() bool { return h.accepts.legacy && time.Since(h.looked) > legacyLook }

// write brings the table from what it holds to the plan, and says how many transactions it took.
func (h *Host) write(p Plan) (transactions uint32, err error) {
	have := h.have
	if have != nil && have.sameBase(p) && diff(have.Ports, p.Ports).empty() {
		h.have = &p
		return 0, nil
	}
	h.have = nil // until the kernel has said yes
	if have == nil {
		h.udp = h.udp || h.table.led()
		if err := h.table.begin(); err != nil {
			return 0, err
		}
		have = &Plan{}
	}
	c := diff(have.Ports, p.Ports)
	for _, port := range c.set {
		_, known := have.Ports[port]
		if err := h.table.set(port, p.Ports[port], known); err != nil {
			return 0, err
		}
	}
	for _, port := range c.gone {
		if err := h.table.unset(port); err != nil {
			return 0, err
		}
	}
	if !have.sameBase(p) {
		if err := h.table.leave(p.Networks); err != nil {
			return 0, err
		}
	}
	if err := h.table.conn.Flush(); err != nil {
		return 0, fmt.Errorf("program published ports: %w", err)
	}
	h.have = &p
	return 1, h.retire(c.retired)
}

// retire ends the UDP flows to tasks that ports do not lead to any more, and remembers the others for Unanswered.
func (h *Host) retire(retired map[ingress.Port][]netip.Addr) error {
	for port, list := range retired {
		if port.Protocol == swarm.PortConfigProtocolTCP {
			h.unanswered[port] = append(h.unanswered[port], list...)
		}
	}
	if len(retired) == 0 || !h.udp && !h.table.led() {
		return nil
	}
	return end(retired, swarm.PortConfigProtocolUDP)
}

// Unanswered are the tasks that connections may still wait for, since it was last asked.
func (h *Host) Unanswered() map[ingress.Port][]netip.Addr {
	list := h.unanswered
	h.unanswered = map[ingress.Port][]netip.Addr{}
	return list
}

// Unstick lets clients whose connection no task has answered find another one by their next attempt.
func Unstick(unanswered map[ingress.Port][]netip.Addr) error {
	if len(unanswered) == 0 {
		return nil
	}
	return end(unanswered, swarm.PortConfigProtocolTCP)
}

// Clear removes all rules of the instance, of this process or an earlier one.
func (h *Host) Clear(ctx context.Context) error {
	h.have, h.seen = nil, 0
	h.table.conn.AddTable(h.table.at)
	h.table.conn.DelTable(h.table.at)
	return errors.Join(h.table.conn.Flush(), h.accepts.clear(ctx))
}

// Close lets go of the kernel and leaves the rules.
func (h *Host) Close() {
	_ = h.table.conn.CloseLasting()
	h.eye.Close()
}
