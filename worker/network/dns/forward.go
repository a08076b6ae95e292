package dns

import (
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// upstreamLimit is one resolver's time; Docker's own gives up on this server after 4 s.
	upstreamLimit = 1500 * time.Millisecond
	// upstreams is how many of the node's resolvers are tried.
	upstreams = 2
)

// resolver knows the node's own resolvers, and reads them again when their file changes.
type resolver struct {
	path string

	mu      sync.Mutex // guards what follows
	changed time.Time
	servers []string
}

func (r *resolver) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	info, err := os.Stat(r.path)
	if err != nil {
		return r.servers
	}
	if info.ModTime().Equal(r.changed) {
		return r.servers
	}
	conf, err := dns.ClientConfigFromFile(r.path)
	if err != nil {
		return r.servers
	}
	r.changed, r.servers = info.ModTime(), nil
	for _, server := range conf.Servers {
		r.servers = append(r.servers, net.JoinHostPort(server, conf.Port))
	}
	return r.servers
}

// forward asks the node's resolvers, over the transport that the question came by.
func (s *Server) forward(w dns.ResponseWriter, q *dns.Msg) {
	select {
	case s.forwards <- struct{}{}:
		defer func() { <-s.forwards }()
	default:
		reply(w, q, dns.RcodeServerFailure)
		return
	}
	client := &dns.Client{Net: w.RemoteAddr().Network(), Timeout: upstreamLimit, UDPSize: dns.MaxMsgSize}
	servers := s.resolver.list()
	for _, server := range servers[:min(len(servers), upstreams)] {
		if at, err := netip.ParseAddrPort(server); err == nil {
			if _, self := s.listening(at.Addr()); self {
				continue
			}
		}
		if m, _, err := client.Exchange(q, server); err == nil {
			m.Id = q.Id
			_ = w.WriteMsg(m)
			return
		}
	}
	reply(w, q, dns.RcodeServerFailure)
}

func reply(w dns.ResponseWriter, q *dns.Msg, code int) {
	m := new(dns.Msg)
	m.SetRcode(q, code)
	m.RecursionAvailable = true
	_ = w.WriteMsg(m)
}

// size is how large an answer may be.
func size(w dns.ResponseWriter, q *dns.Msg) int {
	if w.RemoteAddr().Network() != "udp" {
		return dns.MaxMsgSize
	}
	if o := q.IsEdns0(); o != nil {
		return int(max(o.UDPSize(), dns.MinMsgSize))
	}
	return dns.MinMsgSize
}

func host(a net.Addr) netip.Addr {
	at, _ := netip.ParseAddrPort(a.String())
	return at.Addr().Unmap()
}

// fromReverse reads d.c.b.a.in-addr.arpa. and the 32 digits of an ip6.arpa. name.
func fromReverse(name string) (netip.Addr, bool) {
	name = strings.ToLower(name)
	if digits, ok := strings.CutSuffix(name, ".ip6.arpa."); ok {
		return from6(strings.Split(digits, "."))
	}
	digits, ok := strings.CutSuffix(name, ".in-addr.arpa.")
	if !ok {
		return netip.Addr{}, false
	}
	parts := strings.Split(digits, ".")
	slices.Reverse(parts)
	a, err := netip.ParseAddr(strings.Join(parts, "."))
	return a, err == nil && a.Is4()
}

func from6(nibbles []string) (netip.Addr, bool) {
	if len(nibbles) != 32 {
		return netip.Addr{}, false
	}
	slices.Reverse(nibbles)
	b, err := hex.DecodeString(strings.Join(nibbles, ""))
	if err != nil || len(b) != 16 {
		return netip.Addr{}, false
	}
	a := netip.AddrFrom16([16]byte(b))
	return a, !a.Is4In6()
}

// plain is a question's name as it is written in a compose file: without the final dot, and without the escapes by which the
// library shows bytes that are no letters, digits or hyphens (RFC 1035, 5.1). Names may be in UTF-8.
func plain(name string) string {
	name = strings.TrimSuffix(name, ".")
	if !strings.Contains(name, `\`) {
		return name
	}
	var out strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '\\' || i+1 == len(name) {
			out.WriteByte(name[i])
			continue
		}
		if i+3 < len(name) {
			if n, err := strconv.ParseUint(name[i+1:i+4], 10, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		i++
		out.WriteByte(name[i])
	}
	return out.String()
}
