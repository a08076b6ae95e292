package host

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"orch/internal/bus"
	"orch/worker/network/ingress"
)

var comparable = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}

func TestThePlanOfAPort(t *testing.T) {
	to := func(change func(*ingress.Target), addrs ...string) ingress.Target {
		var out ingress.Target
		for _, a := range addrs {
			out.Backends = append(out.Backends, netip.MustParseAddrPort(a))
		}
		if change != nil {
			change(&out)
		}
		return out
	}
	for name, c := range map[string]struct {
		target ingress.Target
		want   *Target
	}{
		"tasks": {to(nil, "10.9.0.12:80", "10.9.0.11:80"), &Target{
			Port: 80, Backends: []netip.Addr{netip.MustParseAddr("10.9.0.11"), netip.MustParseAddr("10.9.0.12")},
		}},
		"sticky":                           {to(func(t *ingress.Target) { t.Sticky = true }, "10.9.0.11:80"), &Target{Port: 80, Sticky: true, Backends: []netip.Addr{netip.MustParseAddr("10.9.0.11")}}},
		"no tasks: the listener refuses":   {to(nil), nil},
		"the PROXY protocol: the listener": {to(func(t *ingress.Target) { t.Proxy = true }, "10.9.0.11:80"), nil},
		"a network that is not here":       {to(nil, "10.8.0.11:80"), nil},
		"IPv6: the listener":               {to(nil, "[fd00::1]:80"), nil},
	} {
		port := ingress.Port{Protocol: "tcp", Number: 8080}
		p := New([]bus.Network{network}, map[ingress.Port]ingress.Target{port: c.target}, 4789)
		got, ok := p.Ports[port]
		if ok != (c.want != nil) {
			t.Errorf("%s: led is %v", name, ok)
		}
		if c.want != nil {
			if d := cmp.Diff(*c.want, got, comparable); d != "" {
				t.Errorf("%s: %s", name, d)
			}
		}
		if len(p.Published) != 1 {
			t.Errorf("%s: published %v", name, p.Published)
		}
	}
}

func TestOnlyTheDifferenceIsWritten(t *testing.T) {
	addrs := func(list ...string) (out []netip.Addr) {
		for _, a := range list {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	a, b, c := ingress.Port{Protocol: "tcp", Number: 1}, ingress.Port{Protocol: "tcp", Number: 2}, ingress.Port{Protocol: "udp", Number: 1}
	have := map[ingress.Port]Target{a: {Port: 80, Backends: addrs("10.0.0.1", "10.0.0.2")}, b: {Port: 80, Backends: addrs("10.0.0.3")}}
	want := map[ingress.Port]Target{a: {Port: 80, Backends: addrs("10.0.0.2", "10.0.0.4")}, c: {Port: 53, Backends: addrs("10.0.0.5")}}
	got := diff(have, want)
	if len(got.set) != 2 || len(got.gone) != 1 || got.gone[0] != b {
		t.Errorf("set %v, gone %v", got.set, got.gone)
	}
	if d := cmp.Diff(map[ingress.Port][]netip.Addr{a: addrs("10.0.0.1"), b: addrs("10.0.0.3")}, got.retired, comparable); d != "" {
		t.Error(d)
	}
	if !diff(want, want).empty() {
		t.Error("a difference of a plan from itself")
	}
}

const engineRules = `*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -j RETURN
COMMIT
`

func TestTheScriptOfIptables(t *testing.T) {
	a := &accepts{instance: "x"}
	p := New([]bus.Network{network}, map[ingress.Port]ingress.Target{{Protocol: "tcp", Number: 8080}: {}}, 4789)
	rules := a.rules(p)
	first := a.script(parseSaved(engineRules), rules)
	for _, want := range []string{
		"-A ORCH-USER-x -m connmark --mark 0x6f726368 -j ACCEPT\n", "-A ORCH-FORWARD-x -i ovb4321 ! -o ovb4321 -j ACCEPT\n",
		"-A ORCH-INPUT-x -s 192.0.2.7/32 -p udp -m udp --dport 4789 -j ACCEPT\n", "-A ORCH-INPUT-x -s 192.0.2.7/32 -p esp -j ACCEPT\n", "-A ORCH-INPUT-x -p tcp -m multiport --dports 8080 -j ACCEPT\n",
		"-I DOCKER-USER -j ORCH-USER-x\n", "-A FORWARD -j ORCH-FORWARD-x\n", "-I INPUT -j ORCH-INPUT-x\n",
	} {
		if !strings.Contains(first, want) {
			t.Errorf("no %q in\n%s", want, first)
		}
	}
	// As iptables-save would show it then.
	var after strings.Builder
	after.WriteString(strings.TrimSuffix(engineRules, "COMMIT\n"))
	for line := range strings.Lines(first) {
		if strings.HasPrefix(line, "-I ") {
			line = "-A " + strings.TrimPrefix(line, "-I ")
		}
		after.WriteString(line)
	}
	if again := a.script(parseSaved(after.String()), rules); again != "" {
		t.Errorf("nothing is to be done, but:\n%s", again)
	}
	internal := network
	internal.Internal = true
	for _, r := range a.rules(New([]bus.Network{internal}, nil, 4789)) {
		if strings.Contains(r.text, "! -o") {
			t.Errorf("a way out of an internal network: %s", r.text)
		}
	}
	if without := a.script(parseSaved("*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"), rules); !strings.Contains(without, "-I FORWARD -j ORCH-USER-x\n") {
		t.Errorf("an engine that leaves iptables alone:\n%s", without)
	}
}

// What iptables prints is not ours to choose.
func FuzzParseSaved(f *testing.F) {
	f.Add(engineRules)
	f.Add(":\n-A \n-A x\n")
	f.Fuzz(func(_ *testing.T, text string) { (&accepts{}).script(parseSaved(text), nil) })
}

// What the kernel says of a flow is parsed.
func FuzzParseFlow(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 8, 0, 3, 0, 0, 0, 0, 2})
	f.Fuzz(func(_ *testing.T, b []byte) { _, _, _ = parseFlow(b) })
}
