package overlay

import (
	"fmt"
	"maps"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
)

// maxDifferences bounds what is told of one network.
const maxDifferences = 50

// Differences says in words where the kernel is not as a plan has it. It changes nothing.
func Differences(p Plan) ([]string, error) {
	br, err := find(Bridge(p.VNI))
	if err != nil {
		return nil, err
	}
	if br == nil {
		return []string{fmt.Sprintf("bridge %s is missing", Bridge(p.VNI))}, nil
	}
	var out []string
	if br.Attrs().Flags&net.FlagUp == 0 {
		out = append(out, fmt.Sprintf("bridge %s is down", Bridge(p.VNI)))
	}
	port, err := find(VXLAN(p.VNI))
	if err != nil {
		return nil, err
	}
	switch {
	case len(p.Remotes) == 0 && port != nil:
		return append(out, fmt.Sprintf("%s is there, and no other node is on the network", VXLAN(p.VNI))), nil
	case len(p.Remotes) == 0:
		return out, nil
	case port == nil:
		return append(out, fmt.Sprintf("%s is missing: nothing reaches other nodes", VXLAN(p.VNI))), nil
	}
	out = append(out, ofPort(p, port, br)...)
	a := &applier{plan: p, bridge: br, vxlan: port}
	want := a.want()
	have, err := a.have()
	if err != nil {
		return nil, err
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if _, ok := have[k]; !ok {
			out = append(out, "missing: "+k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(have)) {
		if _, ok := want[k]; !ok {
			out = append(out, "too much: "+k)
		}
	}
	if len(out) > maxDifferences {
		out = append(out[:maxDifferences], fmt.Sprintf("and %d more", len(out)-maxDifferences))
	}
	return out, nil
}

func ofPort(p Plan, port, br netlink.Link) (out []string) {
	at := port.Attrs()
	say := func(format string, args ...any) { out = append(out, at.Name+" "+fmt.Sprintf(format, args...)) }
	if at.MasterIndex != br.Attrs().Index {
		say("is not on bridge %s", br.Attrs().Name)
	}
	if at.Flags&net.FlagUp == 0 {
		say("is down")
	}
	if p.MTU > 0 && at.MTU != p.MTU {
		say("has MTU %d instead of %d", at.MTU, p.MTU)
	}
	vx, is := port.(*netlink.Vxlan)
	switch {
	case is == p.TAP:
		say("is a %s device", port.Type())
	case is && (vx.VxlanId != int(p.VNI) || vx.Port != p.Port || !vx.SrcAddr.Equal(p.Underlay.AsSlice())):
		say("is VXLAN %d from %s on port %d, instead of %d from %s on port %d", vx.VxlanId, vx.SrcAddr, vx.Port, p.VNI, p.Underlay, p.Port)
	}
	return out
}
