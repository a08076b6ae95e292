package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"orch/internal/bus"
	"orch/worker/network/crypt"
	"orch/worker/network/overlay"
)

// keyFile holds the node's WireGuard key, so that its peers need not be told of another after a restart.
const keyFile = "wireguard.key"

// secure is the encryption of a node's overlay traffic. Network's mutex guards it.
type secure struct {
	private wgtypes.Key
	tunnel  *crypt.Tunnel
	kernel  *crypt.Kernel
	// device is the kernel's WireGuard device, for VXLAN to be bound to.
	device int
	// esp says that states and policies may be in the kernel: at first, of an earlier process.
	esp, needESP bool
}

// cryptPort is the port of what carries encrypted networks: WireGuard's, or that of VXLAN inside IPsec.
func (n *Network) cryptPort() int { return n.cfg.VXLANPort + 1 }

func (n *Network) newSecure() (secure, error) {
	private, err := wireguardKey(n.cfg.StateDir)
	if err != nil {
		return secure{}, err
	}
	return secure{
		private: private, tunnel: crypt.NewTunnel(private, n.cryptPort(), n.cfg.Log),
		kernel: crypt.NewKernel(private, n.cryptPort()), esp: n.can.ESP == nil,
	}, nil
}

// wireguardKey is the node's, made when there is none yet.
func wireguardKey(dir string) (wgtypes.Key, error) {
	path := filepath.Join(dir, keyFile)
	if b, err := os.ReadFile(path); err == nil && dir != "" {
		if k, err := wgtypes.ParseKey(strings.TrimSpace(string(b))); err == nil {
			return k, nil
		}
	}
	k, err := wgtypes.GeneratePrivateKey()
	if err != nil || dir == "" {
		return k, err
	}
	if err := os.WriteFile(path, []byte(k.String()+"\n"), 0o600); err != nil {
		return k, fmt.Errorf("keep the node's WireGuard key: %w", err)
	}
	return k, nil
}

// Encryption is how this node can encrypt, the fastest way first, and its WireGuard key's public half.
func (n *Network) Encryption() (ways []string, public string) {
	return n.can.Encryption(), n.secure.private.PublicKey().String()
}

// mode is how a network is encrypted, "" if it is not. An error says that it cannot be.
func (n *Network) mode(w bus.Network) (string, error) {
	if !w.Encrypted {
		return "", nil
	}
	switch e := w.Encryption; {
	case e == nil || e.Mode == "":
		return "", errors.New("the cluster's nodes have no way to encrypt in common")
	case !slices.Contains(n.can.Encryption(), e.Mode):
		return "", fmt.Errorf("node cannot encrypt the traffic of overlay networks by %s", e.Mode)
	case len(e.Keys) == 0 || len(e.Keys[0].Data) == 0:
		return "", errors.New("the managers have sent no key yet")
	default:
		return e.Mode, nil
	}
}

// encrypt prepares what encrypted networks travel by, before any device of theirs is made. On an error all
// is left as it is, and no encrypted network is extended.
func (n *Network) encrypt(known []bus.Network) error {
	by := map[string][]bus.Network{}
	for _, w := range known {
		if _, ok := n.ensured[w.ID]; !ok || !w.Encrypted {
			continue
		}
		mode, err := n.mode(w)
		if err != nil {
			return fmt.Errorf("network %s: %w", w.Name, err) // nothing is changed without keys
		}
		by[mode] = append(by[mode], w)
	}
	return errors.Join(n.encryptESP(by[crypt.ESP]), n.encryptKernel(by[crypt.WireGuard]), n.encryptUserspace(by[crypt.Userspace]))
}

func keysOf(w bus.Network) (keys []crypt.Key) {
	for _, k := range w.Encryption.Keys {
		keys = append(keys, crypt.Key{ID: k.ID, Data: k.Data})
	}
	return keys
}

func (n *Network) encryptESP(networks []bus.Network) error {
	n.secure.needESP = len(networks) > 0
	if !n.secure.needESP {
		return nil
	}
	n.secure.esp = true
	self, err := netip.ParseAddr(n.cfg.Underlay)
	if err != nil {
		return fmt.Errorf("this node has no address for other nodes to reach: %w", err)
	}
	var peers []netip.Addr
	for _, w := range networks {
		for _, p := range w.Peers {
			if a, err := netip.ParseAddr(p.Underlay); err == nil {
				peers = append(peers, a)
			}
		}
	}
	plan, err := crypt.PlanESP(self, peers, n.cryptPort(), keysOf(networks[0]))
	if err != nil {
		return err
	}
	return plan.Apply(n.cryptPort())
}

// decrypt takes IPsec away once no device is left that needs it.
func (n *Network) decrypt() error {
	if n.secure.needESP || !n.secure.esp {
		return nil
	}
	n.secure.esp = false
	return crypt.ClearESP(n.cryptPort())
}

func (n *Network) encryptKernel(networks []bus.Network) (err error) {
	if len(networks) == 0 {
		if n.can.WireGuard != nil {
			return nil
		}
		return n.secure.kernel.Close()
	}
	n.secure.device, err = n.secure.kernel.Apply(n.cfg.NodeID, n.peers(networks), keysOf(networks[0]))
	return err
}

func (n *Network) encryptUserspace(networks []bus.Network) error {
	if len(networks) == 0 {
		return n.secure.tunnel.Close()
	}
	var segments []crypt.Segment
	for _, w := range networks {
		if err := overlay.Clear(w.VNI, true); err != nil {
			return err
		}
		s := crypt.Segment{Device: overlay.VXLAN(w.VNI), MACs: map[netip.Addr]net.HardwareAddr{}}
		s.Subnet, _ = netip.ParsePrefix(w.Subnet) // supports has looked
		s.Subnet6, _ = netip.ParsePrefix(w.Subnet6)
		for _, service := range n.state.Services {
			for _, t := range service.Tasks {
				four, err4 := netip.ParseAddr(t.Addrs[w.ID])
				six, err6 := netip.ParseAddr(t.Addrs6[w.ID])
				if err4 == nil && err6 == nil {
					s.MACs[six] = overlay.MAC(four)
				}
			}
		}
		segments = append(segments, s)
	}
	return n.secure.tunnel.Apply(segments, n.peers(networks), keysOf(networks[0]))
}

// peers are the other nodes of the networks, each with all that is on it.
func (n *Network) peers(networks []bus.Network) []crypt.Peer {
	at := map[string]*crypt.Peer{}
	for _, w := range networks {
		for _, p := range w.Peers {
			a, err := netip.ParseAddr(p.Underlay)
			if err != nil {
				continue
			}
			if at[p.NodeID] == nil {
				at[p.NodeID] = &crypt.Peer{Node: p.NodeID, Public: p.WireGuard, Endpoint: netip.AddrPortFrom(a, uint16(n.cryptPort()))}
			}
			if a, err := netip.ParseAddr(p.NodeIP); err == nil {
				at[p.NodeID].Addrs = append(at[p.NodeID].Addrs, a)
			}
		}
		for _, s := range n.state.Services {
			for _, t := range s.Tasks {
				p := at[t.NodeID]
				if p == nil {
					continue
				}
				for _, text := range []string{t.Addrs[w.ID], t.Addrs6[w.ID]} {
					if a, err := netip.ParseAddr(text); err == nil {
						p.Addrs = append(p.Addrs, a)
					}
				}
			}
		}
	}
	var out []crypt.Peer
	for _, p := range at {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b crypt.Peer) int { return strings.Compare(a.Node, b.Node) })
	return out
}

// way is a network's way to its peers.
func (n *Network) way(w bus.Network) (overlay.Plan, error) {
	port, via, underlay := n.cfg.VXLANPort, 0, n.cfg.Underlay
	mode, err := n.mode(w)
	if err != nil {
		return overlay.Plan{}, fmt.Errorf("network %s: %w", w.Name, err)
	}
	switch mode {
	case crypt.ESP:
		port = n.cryptPort()
	case crypt.WireGuard:
		via, underlay = n.secure.device, crypt.Inner(n.cfg.NodeID).String()
		w.Peers = slices.Clone(w.Peers)
		for i, p := range w.Peers {
			w.Peers[i].Underlay = crypt.Inner(p.NodeID).String()
		}
	}
	p, err := overlay.New(w, n.state.Services, underlay, port)
	p.Via, p.TAP, p.MTU = via, mode == crypt.Userspace, n.mtu(w)
	return p, err
}
