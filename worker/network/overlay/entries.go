package overlay

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// entries makes the forwarding and neighbour tables say where the remote addresses are, and nothing else.
func (a *applier) entries() error {
	want := a.want()
	have, err := a.have()
	if err != nil {
		return err
	}
	for k, n := range have {
		if _, ok := want[k]; ok {
			continue
		}
		if err := netlink.NeighDel(&n); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove entry %s: %w", k, err)
		}
		a.changes++
	}
	for k, n := range want {
		if _, ok := have[k]; ok {
			continue
		}
		if err := netlink.NeighSet(&n); err != nil {
			return fmt.Errorf("set entry %s: %w", k, err)
		}
		a.changes++
	}
	return nil
}

// want are the entries that lead to the plan's remote addresses.
func (a *applier) want() map[string]netlink.Neigh {
	vx, br := a.vxlan.Attrs().Index, a.bridge.Attrs().Index
	want := map[string]netlink.Neigh{}
	for _, r := range a.plan.Remotes {
		hw := MAC(r.Addr)
		if !a.plan.TAP {
			n := netlink.Neigh{LinkIndex: vx, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT | netlink.NUD_NOARP, HardwareAddr: hw, IP: r.Node.AsSlice()}
			want[key(n)] = n
		}
		for _, n := range []netlink.Neigh{
			// Without the bridge's own entry its neighbour suppression does not answer.
			{LinkIndex: vx, Family: unix.AF_BRIDGE, Flags: netlink.NTF_MASTER, State: netlink.NUD_NOARP, HardwareAddr: hw},
			{LinkIndex: br, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, HardwareAddr: hw, IP: r.Addr.AsSlice()},
		} {
			want[key(n)] = n
		}
		if r.Addr6.IsValid() { // neighbour suppression answers solicitations from it, too
			n := netlink.Neigh{LinkIndex: br, Family: unix.AF_INET6, State: netlink.NUD_PERMANENT, HardwareAddr: hw, IP: r.Addr6.AsSlice()}
			want[key(n)] = n
		}
	}
	return want
}

// have are the entries in the kernel that this package could have made.
func (a *applier) have() (map[string]netlink.Neigh, error) {
	vx, br := a.vxlan.Attrs().Index, a.bridge.Attrs().Index
	out := map[string]netlink.Neigh{}
	forwarding, err := netlink.NeighList(vx, unix.AF_BRIDGE)
	if err != nil {
		return nil, fmt.Errorf("list forwarding entries: %w", err)
	}
	for _, n := range forwarding {
		if !ours(n.HardwareAddr) || n.HardwareAddr.String() == a.vxlan.Attrs().HardwareAddr.String() {
			continue
		}
		n.Family = unix.AF_BRIDGE
		out[key(n)] = n
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		neighbours, err := netlink.NeighList(br, family)
		if err != nil {
			return nil, fmt.Errorf("list neighbours: %w", err)
		}
		for _, n := range neighbours {
			if n.State == netlink.NUD_PERMANENT {
				out[key(n)] = n
			}
		}
	}
	return out, nil
}

func ours(hw []byte) bool { return len(hw) == 6 && hw[0] == 0x02 && hw[1] == 0x42 }

// key tells entries apart: the table, the hardware address and where it leads.
func key(n netlink.Neigh) string {
	ip, _ := netip.AddrFromSlice(n.IP)
	table := "neighbour"
	if n.Family == unix.AF_BRIDGE {
		table = "bridge"
		if n.Flags&netlink.NTF_SELF != 0 {
			table = "vxlan"
		}
	}
	return fmt.Sprintf("%s %s %s", table, n.HardwareAddr, ip.Unmap())
}
