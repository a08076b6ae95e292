package test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"orch/test/lab"
)

const spreadApplication = `name: shop
services:
  web:
    image: ` + lab.Image + `
    command: [serve, ":8080"]
    hostname: "shop_web.{{.Node.Hostname}}"
    ports: ["8080:8080"]
    deploy: {replicas: 3}
    healthcheck: {test: [CMD, /app, get, "http://127.0.0.1:8080"], interval: 1s, start_interval: 200ms, start_period: 10s}
`

// downWithin and replacedWithin are the README's word on a lost machine.
const (
	downWithin     = 3500 * time.Millisecond
	replacedWithin = 8 * time.Second
)

// Three machines: workers join, tasks spread, names and ports lead from each to
// each, and a machine that is lost is stood in for.
func TestWorkers(t *testing.T) {
	l := lab.New(t, lab.Config{Hosts: 3})
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	manager := start(t, l.Hosts[0])
	token := strings.TrimSpace(manager.orch("token", "worker", "-q"))
	workers := []node{join(t, l.Hosts[1], token, manager.Addr), join(t, l.Hosts[2], token, manager.Addr)}
	ready := func(want int) func() bool {
		return func() bool { return strings.Count(manager.orch("node", "ls"), " ready ") == want }
	}
	eventually(t, 10*time.Second, "three ready nodes", ready(3))
	manager.orch("deploy", "-c", manager.file("compose.yml", spreadApplication), "--timeout", "60s")
	for i := range 3 {
		if n := strings.Count(manager.orch("ps", "shop"), fmt.Sprintf(" %s ", l.Hosts[i].Name)); n != 1 {
			t.Errorf("%s has %d of 3 tasks:\n%s", l.Hosts[i].Name, n, manager.orch("ps", "shop"))
		}
	}
	for _, n := range append(workers, manager) {
		n.answers("http://127.0.0.1:8080/")
		answersAll(n)
	}
	if _, stderr, code := workers[0].try("node", "ls"); code != 1 || !strings.Contains(stderr, "not a swarm manager") {
		t.Errorf("a worker about the cluster: exit code %d, %s", code, stderr)
	}
	for i := range 3 { // a container on each machine reaches the service by its name
		if got := (node{l.Hosts[i], t}).inTask("/app", "get", "http://web:8080"); !strings.HasPrefix(got, "shop_web.") {
			t.Errorf("on %s, web answers %q by its name", l.Hosts[i].Name, got)
		}
	}
	loseAndRegain(t, manager, l.Hosts[2], ready)
}

// join makes the host a worker.
func join(t *testing.T, h *lab.Host, token, manager string) node {
	t.Helper()
	n := node{h, t}
	n.orch("join", "--token", token, "--supervisor", "process", "--data-dir", n.dataDir(), "--docker-host", n.DockerHost(), manager)
	return n
}

// answersAll asks by the published port until every machine's task has answered.
func answersAll(n node) {
	n.t.Helper()
	seen := map[string]bool{}
	eventually(n.t, 20*time.Second, "answers of all three tasks through "+n.Name, func() bool {
		if name, err := n.get("http://127.0.0.1:8080/"); err == nil {
			seen[name] = true
		}
		return len(seen) == 3
	})
}

// loseAndRegain kills a worker's machine with its containers and brings it back.
func loseAndRegain(t *testing.T, manager node, lost *lab.Host, ready func(int) func() bool) {
	t.Helper()
	if err := lost.Kill(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	eventually(t, 2*downWithin, "the lost machine is shown down", func() bool { return strings.Contains(manager.orch("node", "ls"), " down ") })
	t.Logf("down after %.1f s", time.Since(begin).Seconds())
	eventually(t, 2*replacedWithin, "three tasks run elsewhere", func() bool {
		elsewhere := 0
		for line := range strings.Lines(manager.orch("ps", "shop")) {
			if strings.Contains(line, " running (healthy) ") && !strings.Contains(line, " "+lost.Name+" ") {
				elsewhere++
			}
		}
		return elsewhere == 3
	})
	t.Logf("replaced after %.1f s", time.Since(begin).Seconds())
	if err := lost.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := node{lost, t}
	n.restart()
	eventually(t, 15*time.Second, "the machine is back", ready(3))
	eventually(t, 15*time.Second, "its old tasks are stopped", func() bool { return n.running() == 0 })
}

// get is the answer to one request from the host.
func (n node) get(url string) (string, error) {
	client := &http.Client{Transport: &http.Transport{DialContext: n.Dial, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(b)), err
}

// inTask runs a command in the host's one running container.
func (n node) inTask(args ...string) string {
	n.t.Helper()
	id := strings.TrimSpace(n.sh("docker ps -q"))
	return n.sh("docker exec " + id + " " + strings.Join(args, " "))
}

// running counts the host's running containers.
func (n node) running() int { return len(strings.Fields(n.sh("docker ps -q"))) }

func (n node) sh(command string) string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), step)
	defer cancel()
	out, err := n.Run(ctx, "sh", "-c", command)
	if err != nil {
		n.t.Fatalf("%s: %v", command, err)
	}
	return out
}

// restart starts the daemon of a machine that is in a cluster; init is called for
// that, and then says that there is nothing to found.
func (n node) restart() {
	n.t.Helper()
	if _, stderr, _ := n.try(n.initArgs()...); !strings.Contains(stderr, "already part of a swarm") {
		n.t.Fatalf("start the daemon again: %s", stderr)
	}
}
