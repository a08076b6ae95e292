package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"orch/internal/bus"
	"orch/worker/network/dns"
	"orch/worker/network/host"
	"orch/worker/network/ingress"
	"orch/worker/network/nft"
	"orch/worker/network/overlay"
	"orch/worker/network/probe"
	"orch/worker/network/vip"
)

const (
	// vxlanPort is Swarm's own; a node that is in a real swarm too needs another.
	vxlanPort = 4789
	// again is how soon what others took away is put back when no event tells of it.
	again = time.Second
	// thorough is how often all tables are compared with all of the kernel's, and the engine is asked for its networks.
	thorough = 30 * time.Second
	// settle gathers the link events of one change.
	settle = 50 * time.Millisecond
)

// Config is what a node's network needs.
type Config struct {
	NodeID string
	Docker Docker
	Log    *slog.Logger
	// Underlay is this node's address for the others.
	Underlay string
	// VXLANPort is the UDP port between nodes: 4789 unless set.
	VXLANPort int
	// StateDir tells daemons on one machine apart.
	StateDir string
	// ResolvConf names the node's resolvers: /etc/resolv.conf unless set.
	ResolvConf string
}

// State is all that is desired.
type State struct {
	Networks []bus.Network
	Services []bus.Service
}

// Network is the networks of one node.
type Network struct {
	cfg      Config
	instance string
	can      probe.Result
	names    *dns.Server
	ports    *ingress.Ingress
	host     *host.Host // nil on a node whose kernel cannot lead published ports
	kick     chan struct{}

	engine sync.Mutex // held while Docker's networks are changed

	mu       sync.Mutex // guards what follows
	state    State
	applied  bool // some state has come
	over     bool // all is torn down
	tables   map[string]vip.Table
	tasks    map[string]*task
	ensured  map[string]ensured   // by network ID
	troubles []string             // what could not be put in force last time
	plan     host.Plan            // what the host was told last
	adopted  bool                 // a network was found on the engine, and is not extended to its peers yet
	absent   map[string]time.Time // bridges that are gone, by network ID
	// engineNFT says that the engine's firewall is nftables', and lets pass what is led to orch's networks.
	engineNFT bool
	secure    secure
	// engineTrouble is what went wrong with the engine's networks last time; it is logged when it changes.
	engineTrouble string
}

// New finds out what the node can do. It changes nothing but that the node has a key to encrypt with.
func New(ctx context.Context, cfg Config) (*Network, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.VXLANPort == 0 {
		cfg.VXLANPort = vxlanPort
	}
	if cfg.ResolvConf == "" {
		cfg.ResolvConf = "/etc/resolv.conf"
	}
	cfg.Log = cfg.Log.With("component", "network")
	sum := sha256.Sum256([]byte(cfg.StateDir))
	n := &Network{
		cfg: cfg, instance: hex.EncodeToString(sum[:4]), can: probe.Kernel(), names: dns.New(cfg.ResolvConf), ports: ingress.New(),
		kick: make(chan struct{}, 1), tables: map[string]vip.Table{}, tasks: map[string]*task{}, ensured: map[string]ensured{},
		absent: map[string]time.Time{},
	}
	if n.can.Services() && n.can.Ports == nil {
		var err error
		if n.host, err = host.Open(ctx, n.instance); err != nil {
			return nil, err
		}
		n.ports.Led = true
	}
	var err error
	if n.secure, err = n.newSecure(); err != nil {
		return nil, err
	}
	return n, ctx.Err()
}

// Conditions are what this node cannot do, in words: also the published ports that it could not open.
func (n *Network) Conditions() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := append(n.can.Conditions(), n.troubles...)
	if n.host != nil && !n.host.Forwards(n.engineNFT) {
		all = append(all, "published ports pass through the daemon, and not while it restarts: there is no iptables to tell the engine's firewall")
	}
	ports := n.ports.Errors()
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		all = append(all, ports[port])
	}
	return all
}

// PortErrors are the published ports that this node could not open, in words, by "number/protocol".
func (n *Network) PortErrors() map[string]string { return n.ports.Errors() }

// PortErrorsChanged has a value when PortErrors has changed.
func (n *Network) PortErrorsChanged() <-chan struct{} { return n.ports.Changed() }

// DNS are the resolvers of a task on the networks: the first one's gateway, or none on a node that cannot serve names. Docker keeps them for the container's life.
func (n *Network) DNS(networks []string) []string {
	if n.can.Namespace != nil {
		return nil // nobody listens there
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range networks {
		if e, ok := n.ensured[id]; ok {
			return []string{e.spec.Gateway}
		}
		for _, w := range n.state.Networks {
			if w.ID == id {
				return []string{w.Gateway}
			}
		}
	}
	return nil
}

// Apply takes the whole desired state, and returns once the names, service addresses and published ports of it are in force on
// this node. Ports that a stranger holds are in PortErrors, and are no error here.
func (n *Network) Apply(ctx context.Context, s State) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state, n.applied = s, true
	for _, w := range s.Networks {
		if e, ok := n.ensured[w.ID]; ok {
			e.spec, e.assigned = w, true
			n.ensured[w.ID] = e
		}
	}
	n.poke() // Docker's networks take their time, and nothing here waits for them
	return n.enforce(ctx)
}

// enforce makes everything but Docker's networks agree with the state.
func (n *Network) enforce(ctx context.Context) error {
	var errs []error
	known := n.known()
	n.names.Set(dns.NewZone(known, n.state.Services, n.can.Services()))
	errs = append(errs, n.listen(ctx, known))
	n.tables = map[string]vip.Table{}
	if n.can.Services() {
		for _, w := range known {
			n.tables[w.ID] = vip.TableOf(w.ID, n.state.Services)
		}
	}
	safe := n.encrypt(known)
	errs = append(errs, n.programAll(), safe)
	for _, w := range known {
		if _, ok := n.ensured[w.ID]; ok && (safe == nil || !w.Encrypted) {
			errs = append(errs, n.span(w))
		}
	}
	if safe == nil {
		errs = append(errs, n.decrypt())
	}
	errs = append(errs, n.lead(ctx, known, n.ports.Apply(ctx, ingress.Targets(known, n.state.Services))))
	err := errors.Join(errs...)
	n.note(err)
	return err
}

// note logs trouble once, when it comes or changes.
func (n *Network) note(err error) {
	var now []string
	if err != nil {
		now = []string{err.Error()}
	}
	if err != nil && !slices.Equal(now, n.troubles) {
		n.cfg.Log.Warn("the node's network is not as it should be", "err", err)
	}
	n.troubles = now
}

// known are the networks of the state and those that a task is about to be on.
func (n *Network) known() []bus.Network {
	out := slices.Clone(n.state.Networks)
	for id, e := range n.ensured {
		if !slices.ContainsFunc(out, func(w bus.Network) bool { return w.ID == id }) {
			out = append(out, e.spec)
		}
	}
	return out
}

func (n *Network) listen(ctx context.Context, networks []bus.Network) error {
	if n.can.Namespace != nil {
		return nil // a condition says so: the names' port takes the same rights
	}
	var gateways []netip.Addr
	for _, w := range networks {
		if g, err := netip.ParseAddr(w.Gateway); err == nil {
			gateways = append(gateways, g)
		}
	}
	return n.names.Listen(ctx, gateways)
}

// span extends a network to its peers.
func (n *Network) span(w bus.Network) error {
	if n.can.Overlay() != nil {
		return nil // a condition says so
	}
	p, err := n.way(w)
	if err != nil {
		return err
	}
	changes, err := overlay.Apply(p)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		if _, known := n.absent[w.ID]; !known {
			n.absent[w.ID] = time.Now()
		}
		return nil // look makes it again
	}
	if changes > 0 {
		n.cfg.Log.Debug("network reaches other nodes", "network", w.Name, "changes", changes)
	}
	return err
}

// Run keeps the node as it should be until the context ends, and leaves everything in place then.
func (n *Network) Run(ctx context.Context) error {
	links := make(chan netlink.LinkUpdate, 64)
	done := make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribe(links, done); err != nil {
		n.cfg.Log.Info("no news of network devices: looking from time to time", "err", err)
		links = nil
	}
	rules := make(chan struct{}, 1)
	var listening sync.WaitGroup
	defer n.release()
	defer listening.Wait()
	listening.Go(func() {
		if err := nft.News(ctx, func() { wake(rules) }); err != nil {
			n.cfg.Log.Info("no news of firewall rules: looking from time to time", "err", err)
		}
	})
	full, timer := time.NewTimer(0), time.NewTimer(again)
	defer full.Stop()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case l, ok := <-links:
			switch {
			case !ok:
				links = nil
			case !overlay.Ours(l.Link.Attrs().Name): // a device of a container that comes or goes
			case l.Header.Type == unix.RTM_DELLINK:
				timer.Reset(settle)
			default:
				full.Reset(settle)
			}
		case <-rules:
			timer.Reset(settle)
		case <-n.kick:
			n.reconcile(ctx, false)
			n.unstick()
		case <-full.C:
			n.reconcile(ctx, true)
			full.Reset(thorough)
		case <-timer.C:
			n.look(ctx)
			n.unstick()
			timer.Reset(again)
		}
	}
}

func (n *Network) poke() { wake(n.kick) }

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// reconcile makes the engine's networks agree, and then everything if asked for or if a network was found.
func (n *Network) reconcile(ctx context.Context, all bool) {
	err := n.networks(ctx)
	if ctx.Err() != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	said := ""
	if err != nil {
		said = err.Error()
	}
	if err != nil && said != n.engineTrouble {
		n.cfg.Log.Warn("the engine's networks are not as they should be", "err", err)
	}
	n.engineTrouble = said
	if (all || n.adopted) && !n.over && (n.applied || len(n.ensured) > 0) {
		n.adopted = false
		_ = n.enforce(ctx) // noted
	}
}

// release lets go of what a process holds; the kernel's part stays.
func (n *Network) release() {
	n.names.Close()
	n.ports.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, t := range n.tasks {
		t.close()
		delete(n.tasks, id)
	}
	if n.host != nil {
		n.host.Close()
	}
	if err := n.secure.tunnel.Close(); err != nil {
		n.cfg.Log.Debug("close the tunnel of encrypted networks", "err", err)
	}
}
