package overlay

import (
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// apart runs a test in a network namespace that is thrown away.
func apart(t *testing.T, do func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, for a network namespace")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if ns, err := netns.New(); err != nil {
			t.Error(err)
		} else {
			defer ns.Close()
			do()
		}
	}()
	<-done
}

// What the kernel has and what it should have are compared in words, and applying the plan again removes every difference.
func TestDifferences(t *testing.T) {
	at := netip.MustParseAddr
	p := Plan{
		VNI: 4097, Subnet: netip.MustParsePrefix("10.0.1.0/24"), NodeIP: at("10.0.1.2"), Underlay: at("192.0.2.1"), Port: 4789, MTU: 1450,
		Remotes: []Remote{{Addr: at("10.0.1.5"), Addr6: at("fd00::5"), Node: at("192.0.2.2")}, {Addr: at("10.0.1.6"), Node: at("192.0.2.3")}},
	}
	apart(t, func() {
		differ := func(want string) {
			t.Helper()
			got, err := Differences(p)
			if text := strings.Join(got, "\n"); err != nil || (want == "") != (text == "") || !strings.Contains(text, want) {
				t.Errorf("differences %q, %v; want %q", text, err, want)
			}
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
		}
		differ("bridge ovb4097 is missing")
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: Bridge(4097)}}
		must(netlink.LinkAdd(br))
		must(netlink.LinkSetUp(br))
		differ("ovx4097 is missing")
		_, err := Apply(p)
		must(err)
		differ("")

		vx, err := netlink.LinkByName(VXLAN(4097))
		must(err)
		must(netlink.NeighDel(&netlink.Neigh{LinkIndex: vx.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, HardwareAddr: MAC(at("10.0.1.5")), IP: at("192.0.2.2").AsSlice()}))
		differ("missing: vxlan 02:42:0a:00:01:05 192.0.2.2")
		must(netlink.NeighSet(&netlink.Neigh{LinkIndex: br.Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, HardwareAddr: MAC(at("10.0.1.9")), IP: at("10.0.1.9").AsSlice()}))
		differ("too much: neighbour 02:42:0a:00:01:09 10.0.1.9")
		must(netlink.LinkSetNoMaster(vx))
		differ("ovx4097 is not on bridge ovb4097")
		_, err = Apply(p)
		must(err)
		differ("")
		p.Port = 4790
		differ("on port 4789, instead of 4097 from 192.0.2.1 on port 4790")
		_, err = Apply(p)
		must(err)
		differ("")

		// A port that another process has opened is no VXLAN, and takes no forwarding entries.
		p.TAP = true
		differ("is a vxlan device")
		if _, err := Apply(p); err == nil || !strings.Contains(err.Error(), "opened again") {
			t.Errorf("without the port: %v", err)
		}
		if _, err := netlink.LinkByName(VXLAN(4097)); err == nil {
			t.Error("an encrypted network still has its VXLAN")
		}
	})
}
