package ingress

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// dialLimit is one task's time to take a connection: a dead address costs a client this much once.
	dialLimit = 500 * time.Millisecond
	// attempts bounds how many tasks one connection is tried on.
	attempts = 5
	// shunned is how long a task that failed is tried last.
	shunned = time.Second
)

// stream carries the TCP connections of one port.
type stream struct {
	listener net.Listener
	target   *atomic.Pointer[Target]
	bad      sync.Map // netip.AddrPort -> time.Time until it is tried last
}

func (s *stream) serve() {
	for {
		c, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors: those who are connected will free some
			time.Sleep(10 * time.Millisecond)
			continue
		}
		go s.carry(c.(*net.TCPConn))
	}
}

func (s *stream) carry(client *net.TCPConn) {
	defer client.Close()
	t := *s.target.Load()
	server, err := s.dial(t, addrPort(client.RemoteAddr()).Addr())
	if err != nil {
		_ = client.SetLinger(0) // a reset, as from a port where nobody listens
		return
	}
	defer server.Close()
	if t.Proxy {
		if _, err := server.Write(proxyHeader(addrPort(client.RemoteAddr()), addrPort(client.LocalAddr()))); err != nil {
			return
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		pipe(server, client)
	}()
	pipe(client, server)
	<-done
}

// pipe copies one direction in the kernel (splice), and passes on its end.
func pipe(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		from.Close()
		return
	}
	_ = to.CloseWrite()
}

func (s *stream) dial(t Target, client netip.Addr) (*net.TCPConn, error) {
	err := errors.New("no task to take the connection")
	for _, b := range s.order(t, client) {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", b.String(), dialLimit); err == nil {
			return c.(*net.TCPConn), nil
		}
		s.bad.Store(b, time.Now().Add(shunned))
	}
	return nil, err
}

// order is which backends to try: by chance or by the client's address, those that just failed last.
func (s *stream) order(t Target, client netip.Addr) []netip.AddrPort {
	list := slices.Clone(t.Backends)
	if t.Sticky {
		slices.SortFunc(list, func(a, b netip.AddrPort) int {
			if affinity(client, a) > affinity(client, b) {
				return -1
			}
			return 1
		})
	} else {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	now := time.Now()
	isBad := func(b netip.AddrPort) int {
		if until, ok := s.bad.Load(b); ok {
			if now.Before(until.(time.Time)) {
				return 1
			}
			s.bad.Delete(b)
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b netip.AddrPort) int { return isBad(a) - isBad(b) })
	return list[:min(len(list), attempts)]
}

// affinity ranks a backend for a client; the others keep their order when one leaves (rendezvous hashing).
func affinity(client netip.Addr, b netip.AddrPort) uint64 {
	h := fnv.New64a()
	h.Write(client.Unmap().AsSlice())
	h.Write(b.Addr().AsSlice())
	x := h.Sum64() // fnv's high bits hardly change with the last byte: mix
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}

func addrPort(a net.Addr) netip.AddrPort {
	at := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
}

// proxyHeader is version 2 of HAProxy's PROXY protocol, section 2.2 of its specification.
func proxyHeader(from, to netip.AddrPort) []byte {
	h := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c") // version 2, PROXY; TCP over IPv4; 12 bytes follow
	if from.Addr().Is6() {
		h[13], h[15] = 0x21, 36
	}
	h = append(append(h, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	h = binary.BigEndian.AppendUint16(h, from.Port())
	return binary.BigEndian.AppendUint16(h, to.Port())
}
