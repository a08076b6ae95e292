package test

import (
	"strings"
	"testing"
	"time"

	"orch/test/lab"
)

// Three managers: one joins after the other, each serves the API, and the loss of the leader costs seconds.
func TestManagers(t *testing.T) {
	l := lab.New(t, lab.Config{Hosts: 4})
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := start(t, l.Hosts[0])
	token := strings.TrimSpace(first.orch("token", "manager", "-q"))
	managers := []node{first}
	for _, h := range l.Hosts[1:3] {
		began := time.Now()
		managers = append(managers, join(t, h, token, first.Addr))
		t.Logf("%s joined in %s", h.Name, time.Since(began))
	}
	worker := join(t, l.Hosts[3], strings.TrimSpace(first.orch("token", "worker", "-q")), first.Addr)
	for _, m := range managers { // each answers, and says the same
		eventually(t, 10*time.Second, "four ready nodes, three of them managers, through "+m.Name, func() bool {
			out := m.orch("node", "ls", "--format", "{{.Status}} {{.Role}} {{.Reachability}}")
			return strings.Count(out, "ready ") == 4 && strings.Count(out, " manager reachable") == 2 && strings.Count(out, " leader reachable") == 1
		})
	}
	first.orch("deploy", "-c", first.file("compose.yml", spreadApplication), "--timeout", "60s")
	before := worker.sh("docker ps -q")
	if err := l.Hosts[0].Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	managers[1].orch("node", "ls") // reads answer throughout
	if took := time.Since(killed); took > time.Second {
		t.Errorf("a read took %s", took)
	}
	managers[1].orch("scale", "shop_web=4")
	t.Logf("written %s after the leader was killed", time.Since(killed))
	eventually(t, 20*time.Second, "four tasks on the others", func() bool {
		n := 0
		for line := range strings.Lines(managers[2].orch("ps", "shop")) {
			if strings.Contains(line, " running (healthy) ") && !strings.Contains(line, " n1 ") {
				n++
			}
		}
		return n == 4
	})
	t.Logf("four tasks elsewhere after %s", time.Since(killed))
	t.Log(managers[1].orch("node", "ls"))
	t.Log(managers[1].orch("ps", "shop"))
	if after := worker.sh("docker ps -q"); !strings.Contains(after, strings.TrimSpace(before)) {
		t.Errorf("containers on the worker were %s, and are %s", before, after)
	}
}
