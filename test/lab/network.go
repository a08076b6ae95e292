package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

const bridgeName = "switch"

// newSwitch makes a network namespace with a bridge in it. It lasts as long as the handle, or processes in it.
func newSwitch() (netns.NsHandle, error) {
	type made struct {
		ns  netns.NsHandle
		err error
	}
	done := make(chan made, 1)
	go func() {
		// Never unlocked: the thread is in the new namespace, and ends with the goroutine.
		runtime.LockOSThread()
		ns, err := netns.New()
		done <- made{ns, err}
	}()
	m := <-done
	if m.err != nil {
		return m.ns, fmt.Errorf("make the lab's network: %w", m.err)
	}
	inside, err := netlink.NewHandleAt(m.ns)
	if err != nil {
		return m.ns, err
	}
	defer inside.Close()
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}
	if err := inside.LinkAdd(bridge); err != nil {
		return m.ns, fmt.Errorf("make the lab's bridge: %w", err)
	}
	return m.ns, inside.LinkSetUp(bridge)
}

// plug makes a cable from the lab's bridge to the host's eth0.
func (h *Host) plug() error {
	pid := h.init.Process.Pid
	err := h.atSwitch(func(sw *netlink.Handle) error {
		bridge, err := sw.LinkByName(bridgeName)
		if err != nil {
			return err
		}
		cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: h.Name, MasterIndex: bridge.Attrs().Index}, PeerName: "eth0", PeerNamespace: netlink.NsPid(pid)}
		if err := sw.LinkAdd(cable); err != nil {
			return err
		}
		return sw.LinkSetUp(cable)
	})
	if err != nil {
		return err
	}
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return err
	}
	defer ns.Close()
	inside, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer inside.Close()
	if err := setUp(inside, "lo", nil); err != nil {
		return err
	}
	if err := setUp(inside, "eth0", &net.IPNet{IP: net.ParseIP(h.Addr), Mask: net.CIDRMask(24, 32)}); err != nil {
		return err
	}
	// Nothing is there, but programs want a default route to find their own address by.
	return inside.RouteAdd(&netlink.Route{Gw: net.IPv4(10, byte(h.lab.id), 0, 254)})
}

func setUp(inside *netlink.Handle, name string, addr *net.IPNet) error {
	link, err := inside.LinkByName(name)
	if err != nil {
		return err
	}
	if addr != nil {
		if err := inside.AddrAdd(link, &netlink.Addr{IPNet: addr}); err != nil {
			return err
		}
	}
	return inside.LinkSetUp(link)
}

func (h *Host) atSwitch(f func(*netlink.Handle) error) error {
	sw, err := netlink.NewHandleAt(h.lab.network)
	if err != nil {
		return err
	}
	defer sw.Close()
	return f(sw)
}

// unplug removes the cable: the kernel takes its other end away only some time after the host's last process.
func (h *Host) unplug() error {
	return h.atSwitch(func(sw *netlink.Handle) error {
		link, err := sw.LinkByName(h.Name)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := sw.LinkDel(link); err != nil && !errors.Is(err, syscall.ENODEV) {
			return fmt.Errorf("unplug host %s: %w", h.Name, err)
		}
		return nil
	})
}

// Cut takes the host's network link down; Heal takes it up again.
func (h *Host) Cut() error { return h.setLink((*netlink.Handle).LinkSetDown) }

// Heal undoes Cut.
func (h *Host) Heal() error { return h.setLink((*netlink.Handle).LinkSetUp) }

func (h *Host) setLink(set func(*netlink.Handle, netlink.Link) error) error {
	return h.atSwitch(func(sw *netlink.Handle) error {
		link, err := sw.LinkByName(h.Name)
		if err != nil {
			return fmt.Errorf("link of host %s: %w", h.Name, err)
		}
		return set(sw, link)
	})
}

// Dial connects as a program on the host would.
func (h *Host) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ns, err := netns.GetFromPid(h.init.Process.Pid)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	type dialed struct {
		conn net.Conn
		err  error
	}
	done := make(chan dialed, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, as in newSwitch
		if err := netns.Set(ns); err != nil {
			done <- dialed{err: err}
			return
		}
		// One address, or the dialer would use threads that are elsewhere.
		conn, err := (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, addr)
		done <- dialed{conn, err}
	}()
	d := <-done
	return d.conn, d.err
}
