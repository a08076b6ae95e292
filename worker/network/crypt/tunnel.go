package crypt

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Peer is another node with which encrypted networks are shared.
type Peer struct {
	Node string
	// Public is its WireGuard key, in base64.
	Public   string
	Endpoint netip.AddrPort
	// Addrs are the addresses on it.
	Addrs []netip.Addr
}

// Tunnel is wireguard-go with the ports of the node's encrypted networks. It is not safe for concurrent use.
type Tunnel struct {
	private wgtypes.Key
	port    int
	log     *slog.Logger

	mux *mux
	dev *device.Device
	// have is each peer's configuration in force, by public key in hex.
	have map[string]string
}

// NewTunnel is a tunnel with no ports yet, which costs nothing.
func NewTunnel(private wgtypes.Key, port int, log *slog.Logger) *Tunnel {
	return &Tunnel{private: private, port: port, log: log}
}

// Apply makes the ports and peers be those given.
func (t *Tunnel) Apply(segments []Segment, peers []Peer, keys []Key) error {
	if len(segments) == 0 {
		return t.Close()
	}
	if t.dev == nil {
		if err := t.open(); err != nil {
			return err
		}
	}
	if err := t.mux.set(segments); err != nil {
		return err
	}
	want, err := t.peers(peers, keys)
	if err != nil {
		return err
	}
	var change strings.Builder
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if t.have[k] != want[k] {
			change.WriteString(want[k])
		}
	}
	for k := range t.have {
		if _, ok := want[k]; !ok {
			change.WriteString("public_key=" + k + "\nremove=true\n")
		}
	}
	if change.Len() == 0 {
		return nil
	}
	if err := t.dev.IpcSet(change.String()); err != nil {
		return fmt.Errorf("configure WireGuard: %w", err)
	}
	t.have = want
	return nil
}

func (t *Tunnel) open() error {
	t.mux = newMux()
	logger := &device.Logger{
		Verbosef: device.DiscardLogf,
		Errorf:   func(format string, args ...any) { t.log.Debug(fmt.Sprintf(format, args...)) },
	}
	dev := device.NewDevice(t.mux, conn.NewDefaultBind(), logger)
	err := dev.IpcSet(fmt.Sprintf("private_key=%s\nlisten_port=%d\n", hex.EncodeToString(t.private[:]), t.port))
	if err == nil {
		err = dev.Up()
	}
	if err != nil {
		dev.Close()
		return fmt.Errorf("start WireGuard on UDP port %d: %w", t.port, err)
	}
	t.dev, t.have = dev, map[string]string{}
	return nil
}

// peers is each peer's configuration in WireGuard's own words.
func (t *Tunnel) peers(peers []Peer, keys []Key) (map[string]string, error) {
	out := map[string]string{}
	own := t.private.PublicKey().String()
	primary, ok := Primary(keys)
	if !ok {
		return nil, errors.New("the managers have sent no key")
	}
	for _, p := range peers {
		public, err := wgtypes.ParseKey(p.Public)
		if err != nil {
			continue // a node that cannot yet: nothing goes there
		}
		shared, err := presharedKey(primary, own, p.Public)
		if err != nil {
			return nil, err
		}
		var b strings.Builder
		fmt.Fprintf(&b, "public_key=%s\npreshared_key=%s\nendpoint=%s\nreplace_allowed_ips=true\n", hex.EncodeToString(public[:]), hex.EncodeToString(shared), p.Endpoint)
		addrs := slices.SortedFunc(slices.Values(p.Addrs), netip.Addr.Compare)
		for _, a := range slices.Compact(addrs) {
			fmt.Fprintf(&b, "allowed_ip=%s\n", netip.PrefixFrom(a, a.BitLen()))
		}
		out[hex.EncodeToString(public[:])] = b.String()
	}
	return out, nil
}

// presharedKey is what two nodes have besides their own keys: who has stolen a node's key cannot speak once the managers have
// rotated theirs. It is the same from both ends.
func presharedKey(k Key, a, b string) ([]byte, error) {
	if cmp.Compare(a, b) > 0 {
		a, b = b, a
	}
	return derive(k, wgtypes.KeyLen, "wireguard", a, b)
}

// Close takes the ports away.
func (t *Tunnel) Close() error {
	if t.dev == nil {
		return nil
	}
	err := t.mux.set(nil)
	t.dev.Close()
	t.dev, t.mux, t.have = nil, nil, nil
	return err
}
