package allocator

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

const (
	// MTUOption is the driver option that sets a network's MTU.
	MTUOption = "com.docker.network.driver.mtu"

	// IP's own lower limits, and what VXLAN leaves of the largest packet.
	minMTU, minMTU6, maxMTU = 576, 1280, 65485
	// longestV4 and longestV6 are the smallest subnets that have room for a gateway, a node and a task.
	longestV4, longestV6 = 29, 125
)

// CheckNetwork says, where it has them in Swarm's words, why a new network cannot be.
func CheckNetwork(v *store.View, spec *swarm.NetworkSpec) error {
	if err := checkIPAM(spec); err != nil {
		return err
	}
	if err := checkOptions(v, spec); err != nil {
		return err
	}
	if err := SubnetConflict(v, spec); err != nil {
		return err
	}
	if !hasIPv4(spec) {
		if _, ok := freeSubnet(v); !ok {
			return errNoSubnet
		}
	}
	return nil
}

func hasIPv4(spec *swarm.NetworkSpec) bool {
	for _, p := range subnets(&store.Network{Network: swarm.Network{Spec: *spec}}) {
		if p.Addr().Is4() {
			return true
		}
	}
	return false
}

func checkIPAM(spec *swarm.NetworkSpec) error {
	o := spec.IPAMOptions
	if o == nil {
		return nil
	}
	if d := o.Driver.Name; d != "" && d != "default" {
		return fmt.Errorf("ipam driver %q: addresses of overlay networks are given by the cluster, with the driver \"default\"", d)
	}
	families := map[bool]netip.Prefix{}
	for _, c := range o.Configs {
		subnet, err := checkSubnet(c)
		if err != nil {
			return err
		}
		six := subnet.Addr().Is6()
		if other, ok := families[six]; ok {
			return fmt.Errorf("ipam configuration: subnets %s and %s: an overlay network has one IPv4 and one IPv6 subnet", other, subnet)
		}
		families[six] = subnet
		if six && !spec.IPv6Enabled {
			return fmt.Errorf("ipam configuration: subnet %s is IPv6, which the network has not enabled (--ipv6, or enable_ipv6: true)", subnet)
		}
	}
	return nil
}

// checkSubnet checks one configuration. Source of the texts: swarmkit, manager/controlapi/network.go.
func checkSubnet(c swarm.IPAMConfig) (netip.Prefix, error) {
	subnet, err := netip.ParsePrefix(c.Subnet)
	if err != nil {
		return subnet, fmt.Errorf("ipam configuration: invalid subnet %s", c.Subnet)
	}
	if c.Range != "" {
		within, err := netip.ParsePrefix(c.Range)
		switch {
		case err != nil:
			return subnet, fmt.Errorf("ipam configuration: invalid range %s", c.Range)
		case !subnet.Contains(within.Addr()) || within.Bits() < subnet.Bits():
			return subnet, fmt.Errorf("ipam configuration: subnet %s does not contain range %s", c.Subnet, c.Range)
		}
	}
	if c.Gateway != "" {
		gateway, err := netip.ParseAddr(c.Gateway)
		switch {
		case err != nil:
			return subnet, fmt.Errorf("ipam configuration: invalid gateway %s", c.Gateway)
		case !subnet.Contains(gateway):
			return subnet, fmt.Errorf("ipam configuration: subnet %s does not contain gateway %s", c.Subnet, c.Gateway)
		}
	}
	if longest := map[bool]int{false: longestV4, true: longestV6}[subnet.Addr().Is6()]; subnet.Bits() > longest {
		return subnet, fmt.Errorf("ipam configuration: subnet %s is too small: /%d at most", c.Subnet, longest)
	}
	return subnet, nil
}

func checkOptions(v *store.View, spec *swarm.NetworkSpec) error {
	if spec.DriverConfiguration == nil {
		return nil
	}
	for k, value := range spec.DriverConfiguration.Options {
		switch k {
		case MTUOption:
			least := minMTU
			if spec.IPv6Enabled {
				least = minMTU6
			}
			if mtu, err := strconv.Atoi(value); err != nil || mtu != 0 && (mtu < least || mtu > maxMTU) {
				return fmt.Errorf("option %s: invalid MTU %q: must be between %d and %d", k, value, least, maxMTU)
			}
		case VXLANOption:
			if err := checkVXLAN(v, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkVXLAN(v *store.View, value string) error {
	first, _, _ := strings.Cut(value, ",")
	id, err := strconv.ParseUint(first, 10, 24)
	if err != nil || id == 0 {
		return fmt.Errorf("option %s: invalid VXLAN id %q: must be between 1 and %d", VXLANOption, value, lastVXLAN)
	}
	for _, n := range v.Networks(store.All()) {
		if VXLAN(n) == uint32(id) {
			return fmt.Errorf("option %s: VXLAN id %d belongs to network %s", VXLANOption, id, n.Spec.Name)
		}
	}
	return nil
}
