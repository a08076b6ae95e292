package host

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/docker/docker/api/types/swarm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"orch/worker/network/ingress"
)

// synSent is the state of a TCP connection whose opening nobody has answered (TCP_CONNTRACK_SYN_SENT).
const synSent = 1

// flows picks connections to tasks that ports do not lead to any more, and that would stay there for ever: those of UDP, and those of
// TCP that the task has not answered, so that the client's next attempt, a second after its first, finds another task.
type flows struct {
	retired  map[ingress.Port][]netip.Addr
	protocol swarm.PortConfigProtocol
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f flows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Mark != mark || flow.Forward.Protocol != protocols[f.protocol] {
		return false
	}
	if state, ok := flow.ProtoInfo.(*netlink.ProtoInfoTCP); ok && state.State != synSent {
		return false
	}
	port := ingress.Port{Protocol: f.protocol, Number: flow.Forward.DstPort}
	return slices.Contains(f.retired[port], addr(flow.Reverse.SrcIP))
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// end ends the flows of a protocol to the retired.
func end(retired map[ingress.Port][]netip.Addr, protocol swarm.PortConfigProtocol) error {
	if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, flows{retired, protocol}); err != nil {
		return fmt.Errorf("end the flows to removed tasks: %w", err)
	}
	return nil
}
