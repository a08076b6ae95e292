package ingress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

const (
	// idle ends a flow that carries nothing, as the kernel's own tracking of UDP streams would.
	idle = 2 * time.Minute
	// flowsMax bounds the descriptors that one port's clients can take.
	flowsMax = 4096
	datagram = 64 << 10
)

// relay carries the datagrams of one port. Each client has a flow to one task, until it is idle or the task leaves rotation.
type relay struct {
	conn   *net.UDPConn
	target *atomic.Pointer[Target]

	mu    sync.Mutex // guards flows
	flows map[netip.AddrPort]*flow
}

type flow struct {
	backend netip.AddrPort
	server  *net.UDPConn
}

func newRelay(ctx context.Context, address string, target *atomic.Pointer[Target]) (*relay, error) {
	c, err := (&net.ListenConfig{Control: packetInfo}).ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	return &relay{conn: c.(*net.UDPConn), target: target, flows: map[netip.AddrPort]*flow{}}, nil
}

// packetInfo asks for the address that each datagram came to, for answers must come from there.
func packetInfo(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		if v4 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1); v4 == nil {
			failed = nil // a host without IPv6
		}
	})
	return errors.Join(err, failed)
}

func (r *relay) serve() {
	buf := make([]byte, datagram)
	for {
		n, from, err := dns.ReadFromSessionUDP(r.conn, buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an earlier answer's ICMP error
		}
		if f := r.flow(from); f != nil {
			_, _ = f.server.Write(buf[:n]) // datagrams may be lost
		}
	}
}

func (r *relay) flow(from *dns.SessionUDP) *flow {
	client := from.RemoteAddr().(*net.UDPAddr).AddrPort()
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flows[client]; f != nil {
		return f
	}
	t := r.target.Load()
	if len(t.Backends) == 0 || len(r.flows) >= flowsMax {
		return nil
	}
	b := (&stream{}).order(*t, client.Addr())[0]
	server, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(b))
	if err != nil {
		return nil
	}
	f := &flow{backend: b, server: server}
	r.flows[client] = f
	go r.answers(f, client, from)
	return f
}

// answers carries what comes back, until the flow ends.
func (r *relay) answers(f *flow, client netip.AddrPort, to *dns.SessionUDP) {
	defer func() {
		f.server.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.flows[client] == f {
			delete(r.flows, client)
		}
	}()
	buf := make([]byte, datagram)
	for {
		_ = f.server.SetReadDeadline(time.Now().Add(idle))
		n, err := f.server.Read(buf)
		if err != nil {
			return // idle, closed, or the task refuses: the next datagram finds another
		}
		_, _ = dns.WriteToSessionUDP(r.conn, buf[:n], to)
	}
}

// update ends the flows to tasks that left.
func (r *relay) update() {
	t := r.target.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	for client, f := range r.flows {
		if !slices.Contains(t.Backends, f.backend) {
			f.server.Close()
			delete(r.flows, client)
		}
	}
}

// Close ends the port and its flows.
func (r *relay) Close() error {
	err := r.conn.Close()
	r.target.Store(&Target{})
	r.update()
	return err
}
