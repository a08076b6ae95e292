package dns

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/miekg/dns"

	"orch/internal/bus"
)

// asking is a question's way in: who asks, at which gateway, and what was answered.
type asking struct {
	network, from, at string
	got               *dns.Msg
}

func (a *asking) addr(s string) net.Addr {
	at := netip.AddrPortFrom(netip.MustParseAddr(s), 53)
	if a.network == "tcp" {
		return net.TCPAddrFromAddrPort(at)
	}
	return net.UDPAddrFromAddrPort(at)
}
func (a *asking) LocalAddr() net.Addr         { return a.addr(a.at) }
func (a *asking) RemoteAddr() net.Addr        { return a.addr(a.from) }
func (a *asking) WriteMsg(m *dns.Msg) error   { a.got = m; return nil }
func (a *asking) Write(b []byte) (int, error) { return len(b), nil }
func (a *asking) Close() error                { return nil }
func (a *asking) TsigStatus() error           { return nil }
func (a *asking) TsigTimersOnly(bool)         {}
func (a *asking) Hijack()                     {}

// What tasks hear: only of their own networks, empty and not unknown where a name has no such address, and nothing from outside on
// internal networks.
func TestAnswers(t *testing.T) {
	s := New("/nonexistent")
	many := make([]bus.Backend, 60)
	for i := range many {
		many[i] = bus.Backend{TaskID: "m", Addrs: map[string]string{"front": netip.AddrFrom4([4]byte{10, 0, 1, byte(100 + i)}).String()}}
	}
	s.Set(NewZone([]bus.Network{
		{ID: "front", Name: "front", Subnet: "10.0.1.0/24", Subnet6: "fd00::/64"}, {ID: "back", Name: "back", Subnet: "10.0.2.0/24", Internal: true},
	}, []bus.Service{
		{Name: "web", VIPs: map[string]string{"front": "10.0.1.2"}, Backends: []bus.Backend{{TaskID: "w", Addrs: map[string]string{"front": "10.0.1.9"}, Addrs6: map[string]string{"front": "fd00::9"}}}},
		{Name: "db", VIPs: map[string]string{"back": "10.0.2.2"}, Backends: []bus.Backend{{TaskID: "d", Addrs: map[string]string{"back": "10.0.2.9"}}}},
		{Name: "many", Mode: swarm.ResolutionModeDNSRR, Backends: many},
	}, true))
	front, back := netip.MustParseAddr("10.0.1.20"), netip.MustParseAddr("10.0.2.20")
	s.Know([]netip.Addr{front}, []string{"front"})
	s.Know([]netip.Addr{back}, []string{"back"})
	for _, c := range []struct {
		from          netip.Addr
		network, name string
		kind          uint16
		code, answers int
	}{
		{front, "udp", "web.", dns.TypeA, dns.RcodeSuccess, 1},
		{front, "tcp", "WEB.front.", dns.TypeA, dns.RcodeSuccess, 1},
		{front, "udp", "web.", dns.TypeAAAA, dns.RcodeSuccess, 1},
		{front, "udp", "web.", dns.TypeMX, dns.RcodeSuccess, 0},
		{front, "udp", "db.", dns.TypeA, dns.RcodeServerFailure, 0}, // another network's name is none of ours: it would be forwarded
		{back, "udp", "db.", dns.TypeA, dns.RcodeSuccess, 1},
		{back, "udp", "db.", dns.TypeAAAA, dns.RcodeSuccess, 0},
		{back, "udp", "web.", dns.TypeA, dns.RcodeNameError, 0}, // internal: nothing is asked outside
		{back, "udp", "example.com.", dns.TypeA, dns.RcodeNameError, 0},
		{front, "tcp", "many.", dns.TypeA, dns.RcodeSuccess, 60},
		{netip.MustParseAddr("192.0.2.1"), "udp", "web.", dns.TypeA, dns.RcodeRefused, 0},
	} {
		q := new(dns.Msg)
		q.SetQuestion(c.name, c.kind)
		w := &asking{network: c.network, from: c.from.String(), at: "10.0.1.1"}
		s.ServeDNS(w, q)
		if w.got == nil || w.got.Rcode != c.code || len(w.got.Answer) != c.answers {
			t.Errorf("%s asks for %s %s by %s: %v", c.from, c.name, dns.TypeToString[c.kind], c.network, w.got)
		}
	}
	q := new(dns.Msg)
	q.SetQuestion("many.", dns.TypeA)
	w := &asking{network: "udp", from: front.String(), at: "10.0.1.1"}
	if s.ServeDNS(w, q); !w.got.Truncated || w.got.Len() > dns.MinMsgSize {
		t.Errorf("a long answer by UDP has %d bytes, truncated: %v", w.got.Len(), w.got.Truncated)
	}
}

// A task's first question waits until its namespace leads service addresses, and no longer than it must.
func TestTheFirstQuestionWaits(t *testing.T) {
	s := New("/nonexistent")
	s.Set(NewZone([]bus.Network{{ID: "n", Name: "n", Subnet: "10.0.1.0/24"}}, []bus.Service{
		{Name: "web", VIPs: map[string]string{"n": "10.0.1.2"}, Backends: []bus.Backend{{TaskID: "w", Addrs: map[string]string{"n": "10.0.1.9"}}}},
	}, true))
	early := netip.MustParseAddr("10.0.1.30")
	q := new(dns.Msg)
	q.SetQuestion("web.", dns.TypeA)
	w := &asking{network: "udp", from: early.String(), at: "10.0.1.1"}
	done := make(chan struct{})
	go func() { s.ServeDNS(w, q); close(done) }()
	select {
	case <-done:
		t.Error("answered before the namespace was ready")
	case <-time.After(20 * time.Millisecond):
	}
	s.Know([]netip.Addr{early}, []string{"n"})
	<-done
	if a, ok := w.got.Answer[0].(*dns.A); !ok || a.A.String() != "10.0.1.2" {
		t.Errorf("answer %v", w.got.Answer)
	}
}
