package allocator

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

const (
	// VXLANOption is the driver option that holds a network's VXLAN identifier.
	VXLANOption = "com.docker.network.driver.overlay.vxlanid_list"
	// firstVXLAN is where Swarm begins: lower ones are left to the hosts. An
	// identifier has 24 bits.
	firstVXLAN = 4096
	lastVXLAN  = 1<<24 - 1
	// predefinedLabel marks the engine's own networks (host, bridge, none), which
	// services may refer to and which have nothing to allocate.
	predefinedLabel = "com.docker.swarm.predefined"

	defaultPool       = "10.0.0.0/8"
	defaultSubnetSize = 24
)

var errNoSubnet = errors.New("could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network")

// Managed says that the network is the cluster's, with subnets and addresses to
// hand out, and not one that the engines have anyway.
func Managed(n *store.Network) bool {
	driver := ""
	if d := n.Spec.DriverConfiguration; d != nil {
		driver = d.Name
	}
	return n.Spec.Labels[predefinedLabel] == "" && (driver == "" || driver == "overlay")
}

// Predefined is the object by which services refer to a network that every
// engine has.
func Predefined(id, name string) *store.Network {
	n := &store.Network{}
	n.ID = id
	n.Spec.Name, n.Spec.Scope = name, "swarm"
	n.Spec.Labels = map[string]string{predefinedLabel: "true"}
	n.Spec.DriverConfiguration = &swarm.Driver{Name: name}
	n.DriverState = swarm.Driver{Name: name}
	return n
}

func allocated(n *store.Network) bool { return n.DriverState.Name != "" }

// networks allocates those that are new: ingress first, so that it has the first
// subnet, then the oldest.
func (a *allocation) networks() {
	var fresh []*store.Network
	for _, n := range a.tx.Networks(store.All()) {
		if Managed(n) && !allocated(n) {
			fresh = append(fresh, n)
		}
	}
	slices.SortStableFunc(fresh, func(x, y *store.Network) int {
		if x.Spec.Ingress != y.Spec.Ingress {
			return cmp.Compare(strconv.FormatBool(y.Spec.Ingress), strconv.FormatBool(x.Spec.Ingress))
		}
		return cmp.Or(x.CreatedAt.Compare(y.CreatedAt), cmp.Compare(x.ID, y.ID))
	})
	for _, n := range fresh {
		a.network(n)
	}
	a.ingress = Ingress(&a.tx.View)
}

// network allocates one network; with no subnet to be had it is left for later.
func (a *allocation) network(n *store.Network) {
	configs, ok := a.ipam(n)
	if !ok {
		return
	}
	c := *n
	c.IPAMOptions = &swarm.IPAMOptions{Driver: swarm.Driver{Name: "default"}, Configs: configs}
	c.DriverState = swarm.Driver{Name: "overlay", Options: map[string]string{}}
	if d := n.Spec.DriverConfiguration; d != nil {
		maps.Copy(c.DriverState.Options, d.Options)
	}
	if c.DriverState.Options[VXLANOption] == "" {
		c.DriverState.Options[VXLANOption] = strconv.FormatUint(uint64(freeVXLAN(&a.tx.View)), 10)
	}
	a.tx.Put(&c)
	a.moveOn(&c)
}

// moveOn has the next network look behind this one.
func (a *allocation) moveOn(n *store.Network) {
	cluster := a.tx.Cluster()
	if cluster == nil {
		return
	}
	c := *cluster
	if len(subnets(&store.Network{Network: swarm.Network{Spec: n.Spec}})) == 0 {
		subnet, _ := Subnet(n)
		c.NextSubnet = last(subnet).Next().String()
	}
	c.NextVXLAN = VXLAN(n) + 1
	a.tx.Put(&c)
}

// ipam are the network's subnets: those that its spec asks for, or the next free one.
func (a *allocation) ipam(n *store.Network) ([]swarm.IPAMConfig, bool) {
	var configs []swarm.IPAMConfig
	if n.Spec.IPAMOptions != nil {
		for _, c := range n.Spec.IPAMOptions.Configs {
			if subnet, err := netip.ParsePrefix(c.Subnet); err == nil {
				c.Subnet = subnet.Masked().String()
				c.Gateway = cmp.Or(c.Gateway, subnet.Masked().Addr().Next().String())
				configs = append(configs, c)
			}
		}
	}
	isV6 := func(c swarm.IPAMConfig) bool { return strings.Contains(c.Subnet, ":") }
	if n.Spec.IPv6Enabled && !slices.ContainsFunc(configs, isV6) {
		subnet := freeSubnet6(&a.tx.View)
		configs = append(configs, swarm.IPAMConfig{Subnet: subnet.String(), Gateway: subnet.Addr().Next().String()})
	}
	// The IPv4 subnet comes first, as clients expect.
	if i := slices.IndexFunc(configs, func(c swarm.IPAMConfig) bool { return !isV6(c) }); i >= 0 {
		configs[0], configs[i] = configs[i], configs[0]
		return configs, true
	}
	subnet, ok := freeSubnet(&a.tx.View)
	if !ok {
		return nil, false
	}
	v4 := swarm.IPAMConfig{Subnet: subnet.String(), Gateway: subnet.Addr().Next().String()}
	return append([]swarm.IPAMConfig{v4}, configs...), true
}

// freeSubnet is the first of the cluster's address pools that overlaps neither
// another network nor anything that a node routes.
func freeSubnet(v *store.View) (netip.Prefix, bool) {
	pools, size := []string{defaultPool}, defaultSubnetSize
	var next netip.Addr
	if c := v.Cluster(); c != nil {
		if len(c.DefaultAddrPool) > 0 {
			pools = c.DefaultAddrPool
		}
		if c.SubnetSize > 0 {
			size = int(c.SubnetSize)
		}
		next, _ = netip.ParseAddr(c.NextSubnet) // none: from the beginning
	}
	taken := takenSubnets(v)
	var parsed []netip.Prefix
	for _, p := range pools {
		pool, err := netip.ParsePrefix(p)
		if err != nil || !pool.Addr().Is4() || size > pool.Addr().BitLen() {
			continue
		}
		parsed = append(parsed, pool.Masked())
	}
	// The pool that has the next one, from there; then every pool from its beginning.
	for _, pool := range parsed {
		if start := netip.PrefixFrom(next, max(size, pool.Bits())).Masked(); start.IsValid() && pool.Contains(next) {
			if subnet, ok := firstFree(pool, start.Addr(), start.Bits(), taken); ok {
				return subnet, true
			}
		}
	}
	for _, pool := range parsed {
		if subnet, ok := firstFree(pool, pool.Addr(), max(size, pool.Bits()), taken); ok {
			return subnet, true
		}
	}
	return netip.Prefix{}, false
}

// freeSubnet6 is a /64 of the cluster's own unique local prefix (RFC 4193), which is made from its ID: two clusters
// whose networks meet do not overlap.
func freeSubnet6(v *store.View) netip.Prefix {
	id := ""
	if c := v.Cluster(); c != nil {
		id = c.ID
	}
	sum := sha256.Sum256([]byte("orch networks of " + id))
	b := [16]byte{0: 0xfd}
	copy(b[1:6], sum[:])
	taken := takenSubnets(v)
	for n := range 1 << 16 {
		b[6], b[7] = byte(n>>8), byte(n)
		if subnet := netip.PrefixFrom(netip.AddrFrom16(b), 64); !slices.ContainsFunc(taken, subnet.Overlaps) {
			return subnet
		}
	}
	return netip.PrefixFrom(netip.AddrFrom16(b), 64) // 65,536 networks are more than there are identifiers for in practice
}

func firstFree(pool netip.Prefix, at netip.Addr, bits int, taken []netip.Prefix) (netip.Prefix, bool) {
	for at.IsValid() && pool.Contains(at) {
		subnet := netip.PrefixFrom(at, bits)
		i := slices.IndexFunc(taken, subnet.Overlaps)
		if i < 0 {
			return subnet, true
		}
		// On behind what is in the way, which may be larger than a subnet.
		at = last(subnet).Next()
		if behind := last(taken[i]).Next(); taken[i].Bits() < bits {
			at = behind
		}
	}
	return netip.Prefix{}, false
}

// last is the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func takenSubnets(v *store.View) (taken []netip.Prefix) {
	for _, n := range v.Networks(store.All()) {
		taken = append(taken, subnets(n)...)
	}
	for _, n := range v.Nodes(store.All()) {
		for _, s := range n.UsedSubnets {
			// A default route is in everything's way, and says nothing.
			if p, err := netip.ParsePrefix(s); err == nil && p.Bits() > 0 {
				taken = append(taken, p.Masked())
			}
		}
	}
	return taken
}

// subnets are those that a network has, or asks for while it is not allocated.
func subnets(n *store.Network) (all []netip.Prefix) {
	o := n.IPAMOptions
	if o == nil {
		o = n.Spec.IPAMOptions
	}
	if o == nil {
		return nil
	}
	for _, c := range o.Configs {
		if p, err := netip.ParsePrefix(c.Subnet); err == nil {
			all = append(all, p.Masked())
		}
	}
	return all
}

// VXLAN is a network's VXLAN identifier, or 0.
func VXLAN(n *store.Network) uint32 {
	first, _, _ := strings.Cut(n.DriverState.Options[VXLANOption], ",")
	id, err := strconv.ParseUint(first, 10, 24)
	if err != nil {
		return 0
	}
	return uint32(id)
}

func freeVXLAN(v *store.View) uint32 {
	taken := map[uint32]bool{}
	for _, n := range v.Networks(store.All()) {
		taken[VXLAN(n)] = true
	}
	id := uint32(firstVXLAN)
	if c := v.Cluster(); c != nil && c.NextVXLAN > firstVXLAN {
		id = c.NextVXLAN
	}
	for taken[id] || id > lastVXLAN {
		if id++; id > lastVXLAN {
			id = firstVXLAN
		}
	}
	return id
}
