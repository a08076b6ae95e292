// Package check tries the way between nodes as overlay networks use it: a VXLAN device in a network namespace of its own, on the
// same UDP port, in which each node answers the others and asks them, by UDP and TCP and with packets of many sizes.
//
// It touches nothing of the node's own: what it makes is gone with the namespace, also when the process is killed.
package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"orch/internal/bus"
)

const (
	// vni is below the lowest that a network is given.
	vni    = 4095
	device = "orchcheck"
	// port is where nodes answer, inside.
	port = 7
	bits = 16 // of the network inside
)

// Config is what a trial needs of the node.
type Config struct {
	Underlay string
	// Port is the data path's UDP port, MTU that of a network.
	Port, MTU int
}

// Run tries, and answers the others for as long as asked.
func Run(ctx context.Context, cfg Config, c bus.Check) ([]bus.PathReport, error) {
	ctx, cancel := context.WithTimeout(ctx, c.For)
	defer cancel()
	own, err := netip.ParseAddr(c.Addr)
	if err != nil {
		return nil, fmt.Errorf("bad address in the check: %w", err)
	}
	ns, err := space()
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := wire(ns, cfg, own, c.Peers); err != nil {
		return nil, err
	}
	listeners, err := answer(ns, own)
	if err != nil {
		return nil, err
	}
	defer listeners.close()
	reports := make([]bus.PathReport, len(c.Peers))
	done := make(chan int)
	for i, p := range c.Peers {
		go func() { reports[i] = try(ctx, ns, cfg.MTU, p); done <- i }()
	}
	for range c.Peers {
		<-done
	}
	<-ctx.Done() // others are still asking
	return reports, nil
}

// space is a new network namespace, kept by the handle alone.
func space() (netns.NsHandle, error) {
	type made struct {
		ns  netns.NsHandle
		err error
	}
	done := make(chan made, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ns, err := netns.New()
		done <- made{ns, err}
	}()
	m := <-done
	if m.err != nil {
		return m.ns, fmt.Errorf("make a network namespace: %w", m.err)
	}
	return m.ns, nil
}

// inside runs something on a thread in the namespace: sockets belong to the one that they are made in.
func inside(ns netns.NsHandle, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, as above
		if err := netns.Set(ns); err != nil {
			done <- err
			return
		}
		done <- do()
	}()
	return <-done
}

// wire makes the VXLAN device: its packets pass by the node's own network, its addresses are in the namespace.
func wire(ns netns.NsHandle, cfg Config, own netip.Addr, peers []bus.CheckPeer) error {
	underlay, err := netip.ParseAddr(cfg.Underlay)
	if err != nil {
		return fmt.Errorf("this node has no address for other nodes to reach: %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = device, cfg.MTU, mac(own)
	vx := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: vni, SrcAddr: underlay.AsSlice(), Port: cfg.Port, Learning: false}
	if err := netlink.LinkAdd(vx); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return errors.New("another check is under way on this node")
		}
		return fmt.Errorf("vxlan: %w", err)
	}
	if err := netlink.LinkSetNsFd(vx, int(ns)); err != nil {
		return errors.Join(fmt.Errorf("move the device of the check: %w", err), netlink.LinkDel(vx))
	}
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("look into the namespace of the check: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find the device of the check: %w", err)
	}
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: own.AsSlice(), Mask: net.CIDRMask(bits, 32)}}); err != nil {
		return fmt.Errorf("address of the check: %w", err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("start the device of the check: %w", err)
	}
	for _, p := range peers {
		a, err := netip.ParseAddr(p.Addr)
		at, err2 := netip.ParseAddr(p.Underlay)
		if err != nil || err2 != nil {
			continue // its report says so
		}
		i := link.Attrs().Index
		for _, n := range []netlink.Neigh{
			{LinkIndex: i, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT | netlink.NUD_NOARP, HardwareAddr: mac(a), IP: at.AsSlice()},
			{LinkIndex: i, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, HardwareAddr: mac(a), IP: a.AsSlice()},
		} {
			if err := h.NeighSet(&n); err != nil {
				return fmt.Errorf("way to node %s: %w", p.NodeID, err)
			}
		}
	}
	return nil
}

func mac(a netip.Addr) net.HardwareAddr {
	return append(net.HardwareAddr{0x02, 0x42}, a.AsSlice()...)
}

// listeners answer the others.
type listeners struct {
	udp *net.UDPConn
	tcp *net.TCPListener
}

func answer(ns netns.NsHandle, own netip.Addr) (l listeners, err error) {
	err = inside(ns, func() (err error) {
		at := netip.AddrPortFrom(own, port)
		if l.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)); err != nil {
			return err
		}
		l.tcp, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
		return err
	})
	if err != nil {
		return l, fmt.Errorf("answer other nodes: %w", err)
	}
	go l.echoUDP()
	go l.echoTCP()
	return l, nil
}

func (l listeners) close() {
	l.udp.Close()
	l.tcp.Close()
}

func (l listeners) echoUDP() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := l.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = l.udp.WriteToUDPAddrPort(buf[:n], from) // what is lost shows at the other end
		}
	}
}

func (l listeners) echoTCP() {
	for {
		c, err := l.tcp.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Second))
			b := make([]byte, 1)
			if _, err := c.Read(b); err == nil {
				_, _ = c.Write(b)
			}
		}()
	}
}
