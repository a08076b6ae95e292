package test

import (
	"context"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"orch/test/lab"
)

const application = `name: shop
services:
  web:
    image: ` + lab.Image + `
    command: [serve, ":8080"]
    hostname: "{{.Task.Name}}"
    ports: ["8080:8080"]
    secrets: [key]
    configs: [{source: settings, target: /settings}]
    healthcheck: {test: [CMD, /app, get, "http://127.0.0.1:8080"], interval: 1s, start_interval: 200ms, start_period: 10s}
    deploy: {replicas: 2}
    depends_on: {db: {condition: service_started}}
  db:
    image: ` + lab.Image + `
    command: [lines, "3"]
secrets: {key: {environment: SHOP_KEY}}
configs: {settings: {content: "colour=blue"}}
`

// One machine from end to end: what the README says a user does, and what must survive.
func TestOneMachine(t *testing.T) {
	l := lab.New(t, lab.Config{Hosts: 1})
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SHOP_KEY", "hunter2")
	n := start(t, l.Hosts[0])
	file := n.file("compose.yml", application)
	n.orch("deploy", "-c", file, "--timeout", "60s")

	if got := strings.Count(n.orch("services", "shop"), "2/2"); got != 1 {
		t.Errorf("web is not shown as 2/2:\n%s", n.orch("services"))
	}
	n.answers("http://127.0.0.1:8080/")
	if got := n.orch("exec", "shop_web.1", "/app", "cat", "/run/secrets/key"); got != "hunter2" {
		t.Errorf("the secret is %q", got)
	}
	if got := n.orch("exec", "shop_web", "/app", "cat", "/settings"); got != "colour=blue" {
		t.Errorf("the config is %q", got)
	}
	if got := n.orch("exec", "shop_web.2", "/app", "get", "http://web:8080"); !strings.HasPrefix(got, "shop_web.") {
		t.Errorf("web answers %q by its name", got)
	}
	if got := n.orch("logs", "--no-prefix", "shop_db"); got != "line 1\nline 2\nline 3\n" {
		t.Errorf("logs are %q", got)
	}
	if out, _, code := n.try("plan", "-c", file); code != 0 {
		t.Errorf("an unchanged file has a plan (exit code %d):\n%s", code, out)
	}
	n.survivesKill9()

	n.orch("scale", "shop_web=4")
	eventually(t, 30*time.Second, "4 of 4 tasks", func() bool { return strings.Contains(n.orch("services", "shop"), "4/4") })
	n.orch("rm", "shop")
	n.orch("leave", "--force", "--data-dir", n.dataDir())
	if ids := n.containers(); len(ids) > 0 {
		t.Errorf("containers %v are left", ids)
	}
	if _, stderr, code := n.try("ps"); code != 1 || !strings.Contains(stderr, "orch -H") {
		t.Errorf("without a daemon: exit code %d, %s", code, stderr)
	}
}

// answers waits for an answer of the published port: health comes first, the port a moment later.
func (n node) answers(url string) {
	n.t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: n.Dial}, Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	eventually(n.t, 5*time.Second, "an answer from "+url, func() bool {
		resp, err := client.Get(url)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return err == nil && strings.HasPrefix(string(b), "shop_web.")
	})
}

// survivesKill9 kills the daemon and starts it again: the same containers run, and are known.
func (n node) survivesKill9() {
	n.t.Helper()
	before := n.containers()
	b, err := os.ReadFile(n.dataDir() + "/daemon.pid")
	if err != nil {
		n.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		n.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		n.t.Fatal(err)
	}
	// The machine is in its cluster already, which init says; starting the daemon is what it is called for here.
	if _, stderr, _ := n.try(n.initArgs()...); !strings.Contains(stderr, "already part of a swarm") {
		n.t.Fatalf("init after a kill: %s", stderr)
	}
	eventually(n.t, 10*time.Second, "all tasks known as running again", func() bool {
		out, _, code := n.try("services", "shop", "--format", "{{.Running}}/{{.Desired}}")
		return code == 0 && strings.Count(out, "2/2") == 1 && strings.Count(out, "1/1") == 1
	})
	if after := n.containers(); strings.Join(after, " ") != strings.Join(before, " ") {
		n.t.Errorf("containers were %v, and are %v", before, after)
	}
	n.answers("http://127.0.0.1:8080/")
}

// containers are the IDs of all containers on the host, in the order of their names.
func (n node) containers() []string {
	ctx, cancel := context.WithTimeout(n.t.Context(), step)
	defer cancel()
	out, err := n.Run(ctx, "sh", "-c", "docker ps -a --format '{{.Names}} {{.ID}}' | sort")
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.Fields(out)
}

func TestADeployThatCannotBecomeHealthySaysWhy(t *testing.T) {
	l := lab.New(t, lab.Config{Hosts: 1})
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := start(t, l.Hosts[0])
	for _, c := range []struct {
		name, service string
		code          int
		says          string
	}{
		{"never healthy", "image: " + lab.Image + "\n    healthcheck: {test: [CMD, /app, get, \"http://127.0.0.1:1\"], interval: 500ms, retries: 1000}", 3, "connection refused"},
		{"no such image", "image: orch-test/nowhere:1\n    deploy: {restart_policy: {delay: 100ms, max_attempts: 1}}", 1, "No such image: orch-test/nowhere:1"},
		{"always fails", "image: " + lab.Image + "\n    command: [exit, \"7\"]\n    deploy: {restart_policy: {condition: on-failure, delay: 100ms, max_attempts: 2}}", 1, "non-zero exit (7)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := node{n.Host, t}
			file := n.file("bad.yml", "name: bad\nservices:\n  one:\n    "+c.service+"\n")
			_, stderr, code := n.try("deploy", "-c", file, "--timeout", "8s")
			if code != c.code || !strings.Contains(stderr, c.says) {
				t.Errorf("exit code %d, want %d, and output with %q:\n%s", code, c.code, c.says, stderr)
			}
			n.orch("rm", "bad")
		})
	}
}
