package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/network"
	"github.com/vishvananda/netlink"

	"orch/worker/network/host"
	"orch/worker/network/overlay"
)

// Teardown removes all that this daemon made on the node. Networks that containers are still on are an error, and stay.
func (n *Network) Teardown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, engineLimit)
	defer cancel()
	var errs []error
	n.ports.Close()
	n.names.Close()
	n.mu.Lock()
	n.state, n.applied, n.over = State{}, true, true
	for id, t := range n.tasks {
		if t.space != nil {
			errs = append(errs, t.space.Clear())
		}
		t.close()
		delete(n.tasks, id)
	}
	clear(n.ensured)
	n.plan = host.Plan{}
	if n.host != nil {
		errs = append(errs, n.host.Clear(ctx))
	}
	n.mu.Unlock()

	n.engine.Lock()
	defer n.engine.Unlock()
	mine, err := n.mine(ctx)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, d := range mine {
		if err := n.drop(ctx, d); err != nil {
			errs = append(errs, err)
			continue
		}
		if _, err := n.cfg.Docker.NetworkInspect(ctx, d.ID, network.InspectOptions{}); err == nil {
			errs = append(errs, fmt.Errorf("network %s still has containers", d.Name))
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	errs = append(errs, n.encrypt(nil), n.decrypt()) // after the devices that it is for
	return errors.Join(errs...)
}

// UsedSubnets are the subnets that are routed on the node or used by the engine's networks, and that are not orch's.
func (n *Network) UsedSubnets() ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), engineLimit)
	defer cancel()
	used := map[string]bool{}
	all, err := n.list(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		for _, c := range d.IPAM.Config {
			if d.Labels[instanceLabel] != n.instance && c.Subnet != "" {
				used[c.Subnet] = true
			}
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("list the node's routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			continue
		}
		if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil && strings.HasPrefix(l.Attrs().Name, overlay.BridgePrefix) {
			continue
		}
		used[r.Dst.String()] = true
	}
	out := make([]string, 0, len(used))
	for s := range used {
		out = append(out, s)
	}
	slices.Sort(out)
	return out, nil
}
