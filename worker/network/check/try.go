package check

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"orch/internal/bus"
)

const (
	// again is how soon a question that got no answer is repeated: the other node may have begun later.
	again = 150 * time.Millisecond
	// headers are IP's and UDP's.
	headers = 28
)

// sizes are the packets that are tried, the largest that the network lets first.
func sizes(mtu int) []int {
	all := []int{mtu}
	for _, s := range []int{8900, 1450, 1430, 1410, 1390, 1370, 1350, 1300, 1250, 1200, 1000, 576} {
		if s < mtu {
			all = append(all, s)
		}
	}
	return all
}

// try is the way to one node.
func try(ctx context.Context, ns netns.NsHandle, mtu int, p bus.CheckPeer) bus.PathReport {
	r := bus.PathReport{NodeID: p.NodeID}
	a, err := netip.ParseAddr(p.Addr)
	if err != nil {
		r.Err = "the node has no address"
		return r
	}
	at := netip.AddrPortFrom(a, port)
	var problems []string
	if err := tryUDP(ctx, ns, mtu, at, &r); err != nil {
		problems = append(problems, "udp: "+err.Error())
	}
	if err := tryTCP(ctx, ns, at); err != nil {
		problems = append(problems, "tcp: "+err.Error())
	} else {
		r.TCP = true
	}
	r.Err = strings.Join(problems, "; ")
	return r
}

// tryUDP finds the round trip's time and the largest packet that makes it.
func tryUDP(ctx context.Context, ns netns.NsHandle, mtu int, at netip.AddrPort, r *bus.PathReport) error {
	var c *net.UDPConn
	err := inside(ns, func() (err error) {
		c, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := dontFragment(c); err != nil {
		return err
	}
	buf := make([]byte, 1<<16)
	for ctx.Err() == nil {
		begin := time.Now()
		for _, size := range append([]int{headers + 4}, sizes(mtu)...) {
			b := make([]byte, size-headers)
			binary.BigEndian.PutUint32(b, uint32(size))
			_, _ = c.Write(b) // too large for here is the same as lost
		}
		_ = c.SetReadDeadline(begin.Add(again))
		for {
			n, err := c.Read(buf)
			if err != nil {
				break
			}
			if !r.UDP {
				r.UDP, r.RTT = true, time.Since(begin)
			}
			if size := n + headers; size > headers+4 {
				r.MTU = max(r.MTU, size)
			}
			if r.MTU == mtu {
				return nil
			}
		}
		if r.UDP && r.MTU > 0 {
			return nil // what has not come by now is too large
		}
	}
	if r.UDP {
		return nil
	}
	return errors.New("no answer")
}

func dontFragment(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	})
	return errors.Join(err, failed)
}

func tryTCP(ctx context.Context, ns netns.NsHandle, at netip.AddrPort) error {
	for ctx.Err() == nil {
		var c net.Conn
		dialErr := inside(ns, func() (err error) {
			// One address, or the dialer would use threads that are elsewhere.
			c, err = (&net.Dialer{Timeout: 2 * again, FallbackDelay: -1}).DialContext(ctx, "tcp4", at.String())
			return err
		})
		if dialErr == nil {
			_ = c.SetDeadline(time.Now().Add(2 * again))
			_, err := c.Write([]byte{1})
			if err == nil {
				_, err = c.Read(make([]byte, 1))
			}
			c.Close()
			if err == nil {
				return nil
			}
			continue
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
		}
	}
	return errors.New("no answer")
}
