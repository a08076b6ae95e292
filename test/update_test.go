package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"orch/test/lab"
	"orch/test/traffic"
)

// updated is a service on every machine's port 8080; what follows is for its x-orch, its version, and its command.
const updated = `name: shop
services:
  web:
    image: ` + lab.Image + `
    x-orch: {%s}
    environment: {VERSION: "%s"}
    command: [%s]
    ports: ["8080:8080"]
    healthcheck: {test: [CMD, /app, get, "http://127.0.0.1:8080"], interval: 1s, start_interval: 200ms, start_period: 10s}
    stop_grace_period: 5s
    deploy:
      replicas: 4
      update_config: {parallelism: 2, order: start-first, monitor: 1s, failure_action: rollback}
      rollback_config: {parallelism: 2, order: start-first, monitor: 1s}
`

const (
	serves = `serve, ":8080"`
	breaks = `exit, "3", 100ms`
)

// Two machines under load through the published port: an update, a broken one that is taken back, a
// canary that is held and promoted, and a switch of all tasks at once. No request fails.
func TestUpdatesUnderLoad(t *testing.T) {
	l := lab.New(t, lab.Config{Hosts: 2})
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := start(t, l.Hosts[0])
	join(t, l.Hosts[1], strings.TrimSpace(n.orch("token", "worker", "-q")), n.Addr)
	deploy := func(how, version, command string) (stderr string, code int) {
		t.Helper()
		_, stderr, code = n.try("deploy", "-c", n.file("compose.yml", fmt.Sprintf(updated, how, version, command)), "--timeout", "100s")
		return stderr, code
	}
	good := func(how, version string) {
		t.Helper()
		if stderr, code := deploy(how, version, serves); code != 0 {
			t.Fatalf("deploy of version %s: exit code %d: %s\n%s", version, code, stderr, n.orch("ps", "-a", "shop"))
		}
	}
	status := func() string { return n.orch("inspect", "--format", "{{.UpdateStatus.State}}", "shop_web") }
	versions := func(want string) func() bool {
		return func() bool {
			out := n.orch("ps", "shop", "--format", "{{.State}}")
			return strings.Count(out, "running (healthy)") == 4 && strings.Contains(status(), want)
		}
	}
	good("", "1")
	clients := traffic.Start(t.Context(), "http://127.0.0.1:8080/", l.Hosts[0].Dial, l.Hosts[1].Dial)
	good("", "2")
	if stderr, code := deploy("", "3", breaks); code != 1 || !strings.Contains(stderr, "rolled back") {
		t.Errorf("a broken update: exit code %d: %s", code, stderr)
	}
	eventually(t, time.Minute, "version 2 again", versions("rollback_completed"))
	good("canary: 1", "4")
	if out := n.orch("services", "shop", "--format", "{{.Updating}}"); !strings.Contains(out, "held: 1 of 4 tasks updated; `orch promote shop_web` goes on") {
		t.Errorf("a held canary shows as %s", out)
	}
	n.orch("promote", "shop_web")
	eventually(t, time.Minute, "version 4 everywhere", versions("completed"))
	good("blue_green: true", "5")
	r := clients.End()
	t.Logf("%d requests, slowest %.2f s", r.Requests, r.Slowest.Seconds())
	if r.Failed > 1+r.Requests/resetOf || r.Requests == 0 {
		t.Errorf("%d of %d requests failed: %s", r.Failed, r.Requests, strings.Join(r.Errors, "\n"))
	}
}
