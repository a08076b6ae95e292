package network

import (
	"context"
	"errors"
	"fmt"

	"orch/internal/bus"
	"orch/worker/network/check"
	"orch/worker/network/crypt"
	"orch/worker/network/overlay"
)

// Answer answers a manager's question about this node.
func (n *Network) Answer(ctx context.Context, q bus.Question) (a bus.Answer, err error) {
	switch {
	case q.Network != "":
		a.Network, err = n.report(q.Network)
	case q.Check != nil:
		if err := n.can.Overlay(); err != nil {
			return a, fmt.Errorf("no overlay support: %w", err)
		}
		a.MTU = n.mtu(bus.Network{})
		a.Check, err = check.Run(ctx, check.Config{Underlay: n.cfg.Underlay, Port: n.cfg.VXLANPort, MTU: a.MTU}, *q.Check)
	default:
		err = errors.New("a question of a newer manager's: this node is to be upgraded")
	}
	return a, err
}

// report is what the kernel has of a network.
func (n *Network) report(id string) (*bus.NetworkReport, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e, ok := n.ensured[id]
	if !ok {
		return nil, errors.New("the network is not on this node")
	}
	w := e.spec
	for _, now := range n.state.Networks {
		if now.ID == id {
			w = now
		}
	}
	r := &bus.NetworkReport{Engine: e.docker, Bridge: overlay.Bridge(w.VNI), NodeIP: w.NodeIP, MTU: n.mtu(w)}
	p, err := n.way(w)
	if err != nil {
		r.Differences = []string{err.Error()}
		return r, nil
	}
	r.Remotes = len(p.Remotes)
	switch mode, _ := n.mode(w); {
	case len(p.Remotes) == 0:
	case mode == crypt.Userspace:
		r.Port = fmt.Sprintf("%s, UDP %d", mode, n.cryptPort())
	case mode != "":
		r.Port = fmt.Sprintf("vxlan over %s, UDP %d", mode, n.cryptPort())
	default:
		r.Port = fmt.Sprintf("vxlan, UDP %d", p.Port)
	}
	r.Differences, err = overlay.Differences(p)
	return r, err
}
