package dns

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
	// patience is how long an answer waits for the asking task's namespace to lead service addresses anywhere. Programming
	// takes some 10 ms after a start; past this the tasks' own addresses are given, which need no programming.
	patience = time.Second
	// inFlight bounds the questions that are being forwarded.
	inFlight = 1024
)

// Server answers on the gateways of the node's networks.
type Server struct {
	zone     atomic.Pointer[Zone]
	resolver *resolver
	forwards chan struct{}

	mu        sync.Mutex // guards what follows
	listeners map[netip.Addr][]*dns.Server
	askers    map[netip.Addr][]string // the networks of tasks whose namespace is programmed
	ready     chan struct{}           // closed and replaced when there is another asker
}

// New is a server that knows no names yet.
func New(resolvConf string) *Server {
	s := &Server{
		resolver: &resolver{path: resolvConf}, forwards: make(chan struct{}, inFlight),
		listeners: map[netip.Addr][]*dns.Server{}, askers: map[netip.Addr][]string{}, ready: make(chan struct{}),
	}
	s.zone.Store(&Zone{})
	return s
}

// Set replaces all names.
func (s *Server) Set(z *Zone) { s.zone.Store(z) }

// Know says that the tasks at the addresses are on the networks and can use service addresses.
func (s *Server) Know(addrs []netip.Addr, networks []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range addrs {
		s.askers[a] = networks
	}
	close(s.ready)
	s.ready = make(chan struct{})
}

// Forget takes it back.
func (s *Server) Forget(addrs []netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range addrs {
		delete(s.askers, a)
	}
}

// Listen serves on exactly the given addresses. They need not exist yet.
func (s *Server) Listen(ctx context.Context, gateways []netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	want := map[netip.Addr]bool{}
	var errs []error
	for _, g := range gateways {
		want[g] = true
		if s.listeners[g] != nil {
			continue
		}
		pair, err := s.open(ctx, netip.AddrPortFrom(g, 53).String())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.listeners[g] = pair
	}
	for g, pair := range s.listeners {
		if !want[g] {
			shut(pair)
			delete(s.listeners, g)
		}
	}
	return errors.Join(errs...)
}

// open binds both transports before it serves either.
func (s *Server) open(ctx context.Context, address string) ([]*dns.Server, error) {
	cfg := net.ListenConfig{Control: freebind}
	packets, err := cfg.ListenPacket(ctx, "udp4", address)
	if err != nil {
		return nil, fmt.Errorf("serve names: %w", err)
	}
	stream, err := cfg.Listen(ctx, "tcp4", address)
	if err != nil {
		packets.Close()
		return nil, fmt.Errorf("serve names: %w", err)
	}
	var pair []*dns.Server
	for _, d := range []*dns.Server{{PacketConn: packets}, {Listener: stream, MaxTCPQueries: 128}} {
		d.Handler = s
		up := make(chan struct{})
		d.NotifyStartedFunc = func() { close(up) }
		go func() { _ = d.ActivateAndServe() }() // ends with Shutdown
		<-up
		pair = append(pair, d)
	}
	return pair, nil
}

func shut(pair []*dns.Server) {
	for _, d := range pair {
		_ = d.Shutdown() // it runs
	}
}

// freebind lets a gateway's address be bound before its bridge is there, and stay bound when the bridge is made anew.
func freebind(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1) })
	return errors.Join(err, failed)
}

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		reply(w, q, dns.RcodeRefused)
		return
	}
	z := s.zone.Load()
	source, local := host(w.RemoteAddr()), host(w.LocalAddr())
	networks, ok := s.networks(z, source, local)
	if !ok {
		reply(w, q, dns.RcodeRefused)
		return
	}
	name, kind := q.Question[0].Name, q.Question[0].Qtype
	if kind == dns.TypePTR && s.pointer(w, q, z, name, networks) {
		return
	}
	if a := z.resolve(plain(name), networks); a.found {
		s.answer(w, q, kind, a, source)
		return
	}
	if z.closed(networks) {
		reply(w, q, dns.RcodeNameError)
		return
	}
	s.forward(w, q)
}

// networks are the asker's: all of a known task's, else the one that its address is on. The node itself asks at a gateway and
// sees that gateway's network. Others are nobody's business.
func (s *Server) networks(z *Zone, source, local netip.Addr) ([]string, bool) {
	s.mu.Lock()
	ids, ok := s.askers[source]
	s.mu.Unlock()
	if ok {
		return ids, true
	}
	if n := z.at(source); n != nil {
		return []string{n.id}, true
	}
	_, mine := s.listening(local)
	return nil, mine && source.IsPrivate()
}

func (s *Server) listening(a netip.Addr) ([]*dns.Server, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.listeners[a]
	return l, ok
}

func (s *Server) answer(w dns.ResponseWriter, q *dns.Msg, kind uint16, a answer, source netip.Addr) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	if kind == dns.TypeAAAA || kind == dns.TypeANY {
		for _, i := range rand.Perm(len(a.six)) {
			m.Answer = append(m.Answer, &dns.AAAA{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeAAAA, Class: dns.ClassINET}, AAAA: a.six[i].AsSlice(),
			})
		}
	}
	if kind == dns.TypeA || kind == dns.TypeANY {
		addrs := a.addrs
		if a.vip.IsValid() && s.await(source) {
			addrs = []netip.Addr{a.vip}
		}
		for _, i := range rand.Perm(len(addrs)) {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: addrs[i].AsSlice(),
			})
		}
	}
	m.Truncate(size(w, q))
	_ = w.WriteMsg(m)
}

// await waits until the asker's namespace leads service addresses to their tasks, and says whether it does.
func (s *Server) await(source netip.Addr) bool {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		_, ok := s.askers[source]
		ready := s.ready
		s.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-ready:
		case <-deadline.C:
			return false
		}
	}
}

// pointer answers for addresses of the cluster's networks, and for no others.
func (s *Server) pointer(w dns.ResponseWriter, q *dns.Msg, z *Zone, name string, networks []string) bool {
	a, ok := fromReverse(name)
	if !ok {
		return false
	}
	n := z.at(a)
	if n == nil {
		return false
	}
	target, ok := z.reverse[a]
	if !ok || !slices.Contains(networks, n.id) {
		reply(w, q, dns.RcodeNameError)
		return true
	}
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	m.Answer = []dns.RR{&dns.PTR{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypePTR, Class: dns.ClassINET}, Ptr: dns.Fqdn(target)}}
	_ = w.WriteMsg(m)
	return true
}

// Close stops serving.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for g, pair := range s.listeners {
		shut(pair)
		delete(s.listeners, g)
	}
}
