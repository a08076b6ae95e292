package test

import (
	"strings"
	"testing"
	"time"

	"orch/test/lab"
)

// writesWithin is the README's word on a lost leader, with room for a machine that is busy with other tests.
const writesWithin = 8 * time.Second

// Three managers: one joins after the other, each serves the API, and what is lost with the leader's machine, and a worker's in the same
// moment, runs elsewhere. The rest does not notice.
func TestManagers(t *testing.T) {
	l := lab.New(t, lab.Config{Hosts: 4})
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := start(t, l.Hosts[0])
	token := strings.TrimSpace(first.orch("token", "manager", "-q"))
	managers := []node{first, join(t, l.Hosts[1], token, first.Addr), join(t, l.Hosts[2], token, first.Addr)}
	join(t, l.Hosts[3], strings.TrimSpace(first.orch("token", "worker", "-q")), first.Addr)
	for _, m := range managers { // each answers, and says the same
		eventually(t, 10*time.Second, "four ready nodes, three of them managers, through "+m.Name, func() bool {
			out := m.orch("node", "ls", "--format", "{{.Status}} {{.Role}} {{.Reachability}}")
			return strings.Count(out, "ready ") == 4 && strings.Count(out, " manager reachable") == 2 && strings.Count(out, " leader reachable") == 1
		})
	}
	first.orch("deploy", "-c", first.file("compose.yml", spreadApplication), "--timeout", "60s")
	before := strings.Fields(managers[2].sh("docker ps -q"))
	lost := time.Now()
	for _, h := range []*lab.Host{l.Hosts[0], l.Hosts[3]} {
		if err := h.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	if begin := time.Now(); !strings.Contains(managers[1].orch("node", "ls"), l.Hosts[2].Name) || time.Since(begin) > 2*time.Second {
		t.Errorf("a read through another manager took %s", time.Since(begin))
	}
	managers[1].orch("scale", "shop_web=4")
	if took := time.Since(lost); took > writesWithin {
		t.Errorf("writes went on only after %s", took)
	} else {
		t.Logf("written after %.1f s", took.Seconds())
	}
	eventually(t, 20*time.Second, "four tasks on the two machines that are left", func() bool {
		out := managers[2].orch("ps", "shop")
		running := 0
		for line := range strings.Lines(out) {
			if strings.Contains(line, " running (healthy) ") && (strings.Contains(line, " n2 ") || strings.Contains(line, " n3 ")) {
				running++
			}
		}
		return running == 4
	})
	t.Logf("all tasks elsewhere after %.1f s", time.Since(lost).Seconds())
	after := managers[2].sh("docker ps -q")
	for _, id := range before {
		if !strings.Contains(after, id) {
			t.Errorf("container %s on a machine that was not lost is gone", id)
		}
	}
}
