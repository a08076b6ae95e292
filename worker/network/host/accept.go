package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/worker/network/ingress"
	"orch/worker/network/overlay"
)

const (
	// toolLimit bounds one call of iptables, which waits for others that have its lock.
	toolLimit = 10 * time.Second
	// portsPerRule is the most that iptables' multiport takes.
	portsPerRule = 15
)

// Chains of iptables that the instance owns, by what leads to them.
const (
	userChain    = "ORCH-USER-"    // from DOCKER-USER, ahead of all of the engine's rules
	forwardChain = "ORCH-FORWARD-" // at the end of FORWARD: what the engine accepted, should its rules be gone
	inputChain   = "ORCH-INPUT-"   // at the head of INPUT
)

// accepts are the rules of iptables: in the tables that the engine and most firewalls use, a drop there cannot be taken back elsewhere.
type accepts struct {
	instance string
	// tool is the path of iptables; "" on a machine without it.
	tool   string
	legacy bool // changes of its rules are not seen in nftables' generation
	have   []rule
}

// rule is one rule as iptables-save prints it: the chain, and the rest.
type rule struct{ chain, text string }

func newAccepts(ctx context.Context, instance string) *accepts {
	a := &accepts{instance: instance}
	path, err := exec.LookPath("iptables")
	if err != nil {
		return a
	}
	a.tool = path
	version, err := a.run(ctx, "", "", "--version")
	if err != nil {
		a.tool = ""
	}
	a.legacy = !strings.Contains(version, "nf_tables")
	return a
}

// rules are those of a plan.
func (a *accepts) rules(p Plan) []rule {
	var out []rule
	add := func(chain, format string, args ...any) {
		out = append(out, rule{chain + a.instance, fmt.Sprintf(format, args...) + " -j ACCEPT"})
	}
	add(userChain, "-m connmark --mark 0x%x", mark)
	add(forwardChain, "-m connmark --mark 0x%x", mark)
	for _, n := range p.Networks {
		add(forwardChain, "-i %s -o %s", n.Bridge, n.Bridge)
		// Translated: the engine's own published ports, too.
		add(forwardChain, "-o %s -m conntrack --ctstate RELATED,ESTABLISHED,DNAT", n.Bridge)
		if !n.Internal {
			add(forwardChain, "-i %s ! -o %s", n.Bridge, n.Bridge)
		}
	}
	for _, protocol := range []string{"udp", "tcp"} { // names
		add(inputChain, "-i %s+ -p %s -m %s --dport 53", overlay.BridgePrefix, protocol, protocol)
	}
	for _, peer := range p.Peers {
		from := netip.PrefixFrom(peer, peer.BitLen())
		add(inputChain, "-s %s -p udp -m udp --dport %d", from, p.VXLAN)
		// Encrypted networks: WireGuard, or IPsec and what comes out of it.
		add(inputChain, "-s %s -p udp -m udp --dport %d", from, p.VXLAN+1)
		add(inputChain, "-s %s -p esp", from)
	}
	for _, protocol := range []swarm.PortConfigProtocol{swarm.PortConfigProtocolTCP, swarm.PortConfigProtocolUDP} {
		for list := range slices.Chunk(numbers(p.Published, protocol), portsPerRule) {
			add(inputChain, "-p %s -m multiport --dports %s", protocol, strings.Join(list, ","))
		}
	}
	return out
}

func numbers(ports []ingress.Port, protocol swarm.PortConfigProtocol) (out []string) {
	for _, p := range ports {
		if p.Protocol == protocol {
			out = append(out, fmt.Sprint(p.Number))
		}
	}
	return out
}

// saved is what iptables-save says of a table.
type saved struct {
	rules  []rule
	chains []string
}

func parseSaved(text string) (s saved) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if chain, ok := strings.CutPrefix(line, ":"); ok {
			name, _, _ := strings.Cut(chain, " ")
			s.chains = append(s.chains, name)
		}
		if rest, ok := strings.CutPrefix(line, "-A "); ok {
			chain, text, _ := strings.Cut(rest, " ")
			s.rules = append(s.rules, rule{chain, text})
		}
	}
	return s
}

// script is the input of iptables-restore that makes the rules be what they should; "" if they are. One transaction.
func (a *accepts) script(now saved, want []rule) string {
	ours := []string{userChain + a.instance, forwardChain + a.instance, inputChain + a.instance}
	var mine []rule
	for _, r := range now.rules {
		if slices.Contains(ours, r.chain) {
			mine = append(mine, r)
		}
	}
	var b strings.Builder
	if !sameRules(mine, want) || len(mine) == 0 {
		for _, c := range ours {
			fmt.Fprintf(&b, ":%s - [0:0]\n", c)
		}
		for _, r := range want {
			fmt.Fprintf(&b, "-A %s %s\n", r.chain, r.text)
		}
	}
	from := "FORWARD" // an engine that leaves iptables alone has no chain for users
	if slices.Contains(now.chains, "DOCKER-USER") {
		from = "DOCKER-USER"
	}
	for _, jump := range []struct{ how, from, to string }{{"-I", from, ours[0]}, {"-A", "FORWARD", ours[1]}, {"-I", "INPUT", ours[2]}} {
		if !slices.Contains(now.rules, rule{jump.from, "-j " + jump.to}) {
			fmt.Fprintf(&b, "%s %s -j %s\n", jump.how, jump.from, jump.to)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "*filter\n" + b.String() + "COMMIT\n"
}

// sameRules compares by chain; iptables-save groups them in an order of its own.
func sameRules(a, b []rule) bool {
	byChain := func(list []rule) map[string][]string {
		m := map[string][]string{}
		for _, r := range list {
			m[r.chain] = append(m[r.chain], r.text)
		}
		return m
	}
	x, y := byChain(a), byChain(b)
	for chain := range y {
		if !slices.Equal(x[chain], y[chain]) {
			return false
		}
	}
	return len(x) == len(y)
}

// apply looks and puts right; restored says that what it changed had been there.
func (a *accepts) apply(ctx context.Context, p Plan) (changed, restored bool, err error) {
	if a.tool == "" {
		return false, false, nil
	}
	want := a.rules(p)
	text, err := a.run(ctx, "-save", "", "-t", "filter")
	if err != nil {
		return false, false, err
	}
	script := a.script(parseSaved(text), want)
	if script != "" {
		if _, err := a.run(ctx, "-restore", script, "--noflush", "-w"); err != nil {
			return false, false, err
		}
	}
	restored = script != "" && slices.Equal(a.have, want)
	a.have = want
	return script != "", restored, nil
}

// clear removes the instance's chains and what leads to them.
func (a *accepts) clear(ctx context.Context) error {
	if a.tool == "" {
		return nil
	}
	text, err := a.run(ctx, "-save", "", "-t", "filter")
	if err != nil {
		return err
	}
	a.have = nil
	now := parseSaved(text)
	var b strings.Builder
	for _, r := range now.rules {
		if strings.HasPrefix(r.text, "-j ORCH-") && strings.HasSuffix(r.text, a.instance) {
			fmt.Fprintf(&b, "-D %s %s\n", r.chain, r.text)
		}
	}
	for _, c := range []string{userChain, forwardChain, inputChain} {
		if slices.Contains(now.chains, c+a.instance) {
			fmt.Fprintf(&b, "-F %s\n-X %s\n", c+a.instance, c+a.instance)
		}
	}
	if b.Len() == 0 {
		return nil
	}
	_, err = a.run(ctx, "-restore", "*filter\n"+b.String()+"COMMIT\n", "--noflush", "-w")
	return err
}

// run calls iptables or one of its siblings.
func (a *accepts) run(ctx context.Context, sibling, stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, toolLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, a.tool+sibling, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return "", fmt.Errorf("iptables%s: %w: %s", sibling, err, bytes.TrimSpace(exit.Stderr))
	}
	if err != nil {
		return "", fmt.Errorf("iptables%s: %w", sibling, err)
	}
	return string(out), nil
}
