package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/system"
	"github.com/vishvananda/netlink"

	"orch/internal/bus"
	"orch/worker/network/overlay"
)

// Labels of a Docker network that is this package's.
const (
	idLabel       = "orch.network.id"
	instanceLabel = "orch.instance"
)

const (
	optionBridge      = "com.docker.network.bridge.name"
	optionMTU         = "com.docker.network.driver.mtu"
	optionGatewayMode = "com.docker.network.bridge.gateway_mode_ipv4"
)

// engineLimit bounds one change of Docker's networks.
const engineLimit = 30 * time.Second

// grace is how long a network that no state names yet is left alone: its task is being made.
const grace = time.Minute

// Docker is what is needed of Docker's client.
type Docker interface {
	Info(context.Context) (system.Info, error)
	NetworkList(context.Context, network.ListOptions) ([]network.Summary, error)
	NetworkInspect(context.Context, string, network.InspectOptions) (network.Inspect, error)
	NetworkCreate(context.Context, string, network.CreateOptions) (network.CreateResponse, error)
	NetworkRemove(context.Context, string) error
}

// ensured is a network that is on the engine.
type ensured struct {
	spec     bus.Network
	docker   string
	since    time.Time
	assigned bool // some state has named it
}

// Ensure makes a network exist on the engine, and returns the engine's ID of it.
func (n *Network) Ensure(ctx context.Context, w bus.Network) (string, error) {
	if err := n.supports(w); err != nil {
		return "", fmt.Errorf("network %s: %w", w.Name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, engineLimit)
	defer cancel()
	n.engine.Lock()
	defer n.engine.Unlock()
	id, err := n.ensure(ctx, w)
	if err != nil {
		return "", fmt.Errorf("network %s: %w", w.Name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	had, again := n.ensured[w.ID]
	e := ensured{spec: w, docker: id, since: time.Now(), assigned: had.assigned}
	n.ensured[w.ID] = e
	if again && had.docker == id {
		return id, nil
	}
	return id, n.enforce(ctx)
}

// supports refuses what would otherwise be missing in silence.
func (n *Network) supports(w bus.Network) error {
	switch {
	case w.Encrypted && len(n.can.Encryption()) == 0:
		return errors.New("node cannot encrypt the traffic of overlay networks: " + strings.Join(n.can.Conditions(), "; "))
	case w.Subnet6 != "" && w.MTU != 0 && w.MTU < 1280:
		return fmt.Errorf("bad MTU %d: IPv6 needs at least 1280", w.MTU)
	case len(w.Peers) > 0 && n.can.Overlay() != nil:
		return fmt.Errorf("no overlay support: %w", n.can.Overlay())
	case w.MTU != 0 && (w.MTU < 576 || w.MTU > 65535):
		return fmt.Errorf("bad MTU %d: must be between 576 and 65535", w.MTU)
	}
	subnet, err := netip.ParsePrefix(w.Subnet)
	if err != nil || !subnet.Addr().Is4() {
		return fmt.Errorf("bad subnet %q", w.Subnet)
	}
	gateway, err := netip.ParseAddr(w.Gateway)
	if err != nil || !subnet.Contains(gateway) {
		return fmt.Errorf("gateway %q is not in subnet %s", w.Gateway, w.Subnet)
	}
	return nil
}

func (n *Network) ensure(ctx context.Context, w bus.Network) (string, error) {
	all, err := n.list(ctx)
	if err != nil {
		return "", err
	}
	dropped := false
	for _, d := range all {
		switch {
		case d.Labels[instanceLabel] != n.instance:
		case d.Labels[idLabel] == w.ID:
			return d.ID, nil
		case d.Name == w.Name:
			// The cluster's network of this name was removed and made again before the old one was swept here.
			if err := n.drop(ctx, d); err != nil {
				return "", err
			}
			dropped = true
		}
	}
	if dropped {
		if all, err = n.list(ctx); err != nil {
			return "", err
		}
	}
	if err := conflict(w, all); err != nil {
		return "", err
	}
	made, err := n.cfg.Docker.NetworkCreate(ctx, w.Name, n.options(ctx, w))
	if err != nil {
		return "", fmt.Errorf("create on the engine: %w", err)
	}
	return made.ID, nil
}

func (n *Network) list(ctx context.Context) ([]network.Summary, error) {
	all, err := n.cfg.Docker.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the engine's networks: %w", err)
	}
	return all, nil
}

// conflict finds what is in a new network's way.
func conflict(w bus.Network, all []network.Summary) error {
	subnet, _ := netip.ParsePrefix(w.Subnet) // supports has looked
	for _, d := range all {
		if d.Name == w.Name {
			return fmt.Errorf("the engine has another network of this name (%.12s)", d.ID)
		}
		if d.Options[optionBridge] == overlay.Bridge(w.VNI) {
			return fmt.Errorf("bridge %s belongs to network %s", overlay.Bridge(w.VNI), d.Name)
		}
		for _, c := range d.IPAM.Config {
			if p, err := netip.ParsePrefix(c.Subnet); err == nil && p.Overlaps(subnet) {
				return fmt.Errorf("subnet %s overlaps with %s of the engine's network %s", w.Subnet, c.Subnet, d.Name)
			}
		}
	}
	return nil
}

func (n *Network) options(ctx context.Context, w bus.Network) network.CreateOptions {
	o := network.CreateOptions{
		Driver: "bridge", Internal: w.Internal, Attachable: w.Attachable,
		IPAM:   &network.IPAM{Driver: "default", Config: []network.IPAMConfig{{Subnet: w.Subnet, Gateway: w.Gateway}}},
		Labels: map[string]string{idLabel: w.ID, instanceLabel: n.instance},
		Options: map[string]string{
			optionBridge: overlay.Bridge(w.VNI), optionMTU: strconv.Itoa(n.mtu(w)),
		},
	}
	if w.Subnet6 != "" {
		o.EnableIPv6 = new(bool)
		*o.EnableIPv6 = true
		o.IPAM.Config = append(o.IPAM.Config, network.IPAMConfig{Subnet: w.Subnet6, Gateway: w.Gateway6})
	}
	for k, v := range w.Labels {
		if _, own := o.Labels[k]; !own {
			o.Labels[k] = v
		}
	}
	// Only the engines that have the nftables backend drop what the kernel path of published ports forwards.
	if n.usesNFT(ctx) {
		o.Options[optionGatewayMode] = "nat-unprotected"
	}
	return o
}

func (n *Network) usesNFT(ctx context.Context) bool {
	info, err := n.cfg.Docker.Info(ctx)
	return err == nil && info.FirewallBackend != nil && strings.Contains(info.FirewallBackend.Driver, "nftables")
}

// mtu is a network's: as asked for, or what the underlay leaves.
func (n *Network) mtu(w bus.Network) int {
	links, err := netlink.LinkList()
	if err != nil {
		return overlay.MTU(w, 1500)
	}
	for _, l := range links {
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if a.IP.String() == n.cfg.Underlay && l.Attrs().MTU <= 9000 {
				return overlay.MTU(w, l.Attrs().MTU)
			}
		}
	}
	return overlay.MTU(w, 1500)
}

// networks makes the engine's networks agree: those of published ports exist, and those that nothing needs are gone.
func (n *Network) networks(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, engineLimit)
	defer cancel()
	n.mu.Lock()
	state, applied := n.state, n.applied
	var missing []bus.Network
	for _, w := range state.Networks {
		if _, ok := n.ensured[w.ID]; !ok && w.Ingress {
			missing = append(missing, w)
		}
	}
	n.mu.Unlock()
	var errs []error
	for _, w := range missing {
		_, err := n.Ensure(ctx, w)
		errs = append(errs, err)
	}
	if applied {
		errs = append(errs, n.sweep(ctx, state))
	}
	if n.host != nil && !n.host.Forwards(false) {
		uses := n.usesNFT(ctx)
		n.mu.Lock()
		n.engineNFT = uses
		n.mu.Unlock()
	}
	return errors.Join(errs...)
}

// sweep adopts the engine's networks that the state names, and removes those that are this daemon's and that nothing is on.
func (n *Network) sweep(ctx context.Context, state State) error {
	n.engine.Lock()
	defer n.engine.Unlock()
	mine, err := n.mine(ctx)
	if err != nil {
		return err
	}
	wanted := map[string]bus.Network{}
	for _, w := range state.Networks {
		wanted[w.ID] = w
	}
	seen := map[string]bool{}
	var errs []error
	for _, d := range mine {
		id := d.Labels[idLabel]
		seen[id] = true
		if w, ok := wanted[id]; ok {
			n.adopt(w, d.ID)
			continue
		}
		if n.young(id) {
			continue
		}
		errs = append(errs, n.drop(ctx, d))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, e := range n.ensured {
		if !seen[id] && time.Since(e.since) > settle {
			delete(n.ensured, id) // removed by hand: the next task makes it anew
		}
	}
	return errors.Join(errs...)
}

func (n *Network) mine(ctx context.Context) ([]network.Summary, error) {
	mine, err := n.cfg.Docker.NetworkList(ctx, network.ListOptions{
		Filters: filters.NewArgs(filters.Arg("label", instanceLabel+"="+n.instance)),
	})
	if err != nil {
		return nil, fmt.Errorf("list the engine's networks: %w", err)
	}
	return mine, nil
}

// Mine are the cluster's IDs of the networks that this daemon has on the engine, by the engine's IDs and by name.
func (n *Network) Mine(ctx context.Context) (map[string]string, error) {
	mine, err := n.mine(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, d := range mine {
		out[d.ID], out[d.Name] = d.Labels[idLabel], d.Labels[idLabel]
	}
	return out, nil
}

func (n *Network) adopt(w bus.Network, docker string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.ensured[w.ID]; !ok {
		n.ensured[w.ID] = ensured{spec: w, docker: docker, since: time.Now(), assigned: true}
		n.adopted = true
	}
}

// young says that a network is being made for a task that no state has named yet.
func (n *Network) young(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	e, ok := n.ensured[id]
	return ok && !e.assigned && time.Since(e.since) < grace
}

// drop removes a network of the engine's, unless containers are on it.
func (n *Network) drop(ctx context.Context, d network.Summary) error {
	got, err := n.cfg.Docker.NetworkInspect(ctx, d.ID, network.InspectOptions{})
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the engine's network %s: %w", d.Name, err)
	}
	if len(got.Containers) > 0 {
		return nil
	}
	vni, strange := strconv.ParseUint(strings.TrimPrefix(d.Options[optionBridge], overlay.BridgePrefix), 10, 32)
	if strange == nil {
		if err := overlay.Remove(overlay.VXLAN(uint32(vni))); err != nil {
			return err
		}
	}
	if err := n.cfg.Docker.NetworkRemove(ctx, d.ID); err != nil && !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("remove the engine's network %s: %w", d.Name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.ensured, d.Labels[idLabel])
	if strange != nil {
		return nil
	}
	return overlay.Remove(overlay.Bridge(uint32(vni))) // the engine knows nothing of a bridge that was made again
}
