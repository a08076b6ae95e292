package network

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/docker/docker/api/types/network"

	"orch/internal/bus"
	"orch/worker/network/host"
	"orch/worker/network/ingress"
	"orch/worker/network/overlay"
)

// forget is how long a bridge must be gone before it is made again: dockerd removes a network's bridge shortly before the network.
const forget = 500 * time.Millisecond

// look finds what others took away, and puts it back. While nothing is missing it costs a few questions to the kernel for each
// network and task, and no comparison of tables.
func (n *Network) look(ctx context.Context) {
	n.engine.Lock()
	defer n.engine.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.over {
		return
	}
	var errs []error
	whole := len(n.ports.Errors()) == 0 && len(n.troubles) == 0
	for id, e := range n.ensured {
		present, err := overlay.Present(e.spec.VNI, len(e.spec.Peers) > 0 && n.can.Overlay() == nil)
		errs = append(errs, err)
		if present || err != nil {
			delete(n.absent, id)
			continue
		}
		whole = false
		back, err := n.remake(ctx, e)
		errs = append(errs, err)
		if back {
			n.restored("bridge " + overlay.Bridge(e.spec.VNI))
		}
	}
	if err := errors.Join(errs...); err != nil {
		n.cfg.Log.Debug("looking after the node's networks", "err", err)
	}
	emptied := 0
	for _, t := range n.tasks {
		if t.space == nil {
			continue
		}
		if ok, err := t.space.Whole(); err == nil && !ok {
			emptied++
		}
	}
	if emptied > 0 {
		whole = false
		n.restored("service addresses of tasks", "tasks", emptied)
	}
	if !whole {
		_ = n.enforce(ctx) // noted
	} else if n.host != nil && n.applied {
		n.note(n.carry(ctx, n.plan))
	}
}

// unstick frees clients of a task that ended without a word; a change does not wait for it.
func (n *Network) unstick() {
	if n.host == nil {
		return
	}
	n.mu.Lock()
	unanswered := n.host.Unanswered()
	n.mu.Unlock()
	if err := host.Unstick(unanswered); err != nil {
		n.cfg.Log.Debug("connections to ended tasks", "err", err)
	}
}

// restored says once what someone took away and what is back.
func (n *Network) restored(what string, args ...any) {
	n.cfg.Log.Warn("was removed by someone else, and is put back: "+what, args...)
}

// lead makes the kernel lead the ports that are held to their tasks.
func (n *Network) lead(ctx context.Context, known []bus.Network, held map[ingress.Port]ingress.Target) error {
	if n.host == nil || !n.applied {
		return nil // what an earlier process has left is better than nothing
	}
	var here []bus.Network
	for _, w := range known {
		_, on := n.ensured[w.ID]
		if !on { // not found on the engine yet
			on, _ = overlay.Present(w.VNI, false)
		}
		if on {
			here = append(here, w)
		}
	}
	n.plan = host.New(here, held, n.cfg.VXLANPort)
	if !n.host.Forwards(n.engineNFT) {
		n.plan.Ports = nil // the engine's firewall would drop what it cannot be told to accept
	}
	return n.carry(ctx, n.plan)
}

func (n *Network) carry(ctx context.Context, p host.Plan) error {
	restored, err := n.host.Apply(ctx, p)
	for _, what := range restored {
		n.restored(what)
	}
	return err
}

// remake makes a bridge again that was deleted under its containers, unless it goes with its network.
func (n *Network) remake(ctx context.Context, e ensured) (bool, error) {
	since, known := n.absent[e.spec.ID]
	if !known {
		n.absent[e.spec.ID] = time.Now()
		return false, nil
	}
	if time.Since(since) < forget {
		return false, nil
	}
	if present, err := overlay.Present(e.spec.VNI, false); err != nil || present {
		return false, err // only the port is gone, and that is enforced
	}
	ctx, cancel := context.WithTimeout(ctx, engineLimit)
	defer cancel()
	if _, err := n.cfg.Docker.NetworkInspect(ctx, e.docker, network.InspectOptions{}); err != nil {
		return false, nil // gone too, or the engine is away and will make it
	}
	gateway, err := netip.ParseAddr(e.spec.Gateway)
	if err != nil {
		return false, err
	}
	subnet, err := netip.ParsePrefix(e.spec.Subnet)
	if err != nil {
		return false, err
	}
	r := overlay.Restore{VNI: e.spec.VNI, Gateway: netip.PrefixFrom(gateway, subnet.Bits()), MTU: n.mtu(e.spec)}
	for _, t := range n.tasks {
		if t.space == nil {
			continue
		}
		if d, ok, err := t.space.Device(subnet, gateway); err == nil && ok {
			r.Ports = append(r.Ports, d.Peer)
			if len(d.Gateway) > 0 {
				r.MAC = d.Gateway
			}
		}
	}
	delete(n.absent, e.spec.ID)
	return true, r.Do()
}
