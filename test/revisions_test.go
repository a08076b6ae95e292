package test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"orch/test/lab"
)

const revisions = `name: rev
services:
  web:
    image: ` + lab.Image + `
    command: COMMAND
    secrets: [key]
    configs: [{source: settings, target: /settings}]
    deploy: {update_config: {monitor: 1s}}
  seed:
    image: ` + lab.Image + `
    command: [exit, "0"]
    depends_on: [web]
    deploy: {mode: replicated-job}
secrets: {key: {file: ./key}}
configs: {settings: {content: COLOUR}}
`

// Deploys are revisions that one can go back to, secrets and configs included, and a service has one-off tasks: with orch, and
// with the same program on Docker's own swarm mode.
func TestRevisions(t *testing.T) {
	l := lab.New(t, lab.Config{Hosts: 2})
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	swarm := node{l.Hosts[1], t}
	if _, err := swarm.Run(t.Context(), "docker", "-H", swarm.DockerHost(), "swarm", "init", "--advertise-addr", swarm.Addr); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]endpoint{"orch": {start(t, l.Hosts[0]), nil}, "swarm": {swarm, []string{"-H", swarm.DockerHost()}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.t = t
			c.revisions()
		})
	}
}

// endpoint is an API that orch's command line is used with.
type endpoint struct {
	node
	flags []string // a second -H replaces the first
}

func (c endpoint) must(args ...string) string { return c.orch(append(c.flags, args...)...) }

// deploys runs a deploy and returns its exit code and what it said.
func (c endpoint) deploys(command, colour, key string) (code int, said string) {
	c.t.Helper()
	c.file("key", key)
	file := c.file("revisions.yml", strings.NewReplacer("COMMAND", command, "COLOUR", colour).Replace(revisions))
	out, problems, code := c.try(append(c.flags, "deploy", "-c", file, "--timeout", "60s")...)
	return code, out + problems
}

func (c endpoint) outcomes() (out []string) {
	c.t.Helper()
	var list []struct{ Outcome string }
	if err := json.Unmarshal([]byte(c.must("history", "rev", "--json")), &list); err != nil {
		c.t.Fatal(err)
	}
	for _, r := range list {
		out = append(out, r.Outcome)
	}
	return out
}

func (c endpoint) holds(what, colour, key string) {
	c.t.Helper()
	if got := c.must("exec", "rev_web", "/app", "cat", "/settings") + " " + c.must("exec", "rev_web", "/app", "cat", "/run/secrets/key"); got != colour+" "+key {
		c.t.Errorf("%s: web has %q, want %s and %s", what, got, colour, key)
	}
}

func (c endpoint) revisions() {
	t := c.t
	for _, d := range []struct {
		command, colour, key string
		code                 int
		says                 string
	}{
		{"sleep", "blue", "one", 0, "healthy"},
		{"sleep", "blue", "one", 0, "unchanged"},
		{"sleep", "green", "two", 0, "healthy"},
		{"exit 3", "red", "three", 1, "rolled back web"},
	} {
		if code, said := c.deploys(d.command, d.colour, d.key); code != d.code || !strings.Contains(said, d.says) {
			t.Fatalf("deploy of %+v: exit code %d:\n%s", d, code, said)
		}
	}
	c.holds("after a failed deploy", "green", "two")
	if got := c.outcomes(); !slices.Equal(got, []string{"rolled back", "done", "done"}) {
		t.Errorf("outcomes %q", got)
	}
	c.must("rollback", "rev", "1")
	c.holds("revision 1", "blue", "one")
	c.must("rollback", "rev")
	c.holds("the one before", "green", "two")

	if out := c.must("run", "--rm", "-e", "WHO=me", "rev/web", "env", "WHO"); out != "me\n" {
		t.Errorf("a one-off task printed %q", out)
	}
	if _, problems, code := c.try(append(c.flags, "run", "--rm", "rev/web", "exit", "7")...); code != 7 {
		t.Errorf("a one-off task that exits with 7 gave %d: %s", code, problems)
	}
	if got := c.must("services", "-q"); got != "rev_seed\nrev_web\n" {
		t.Errorf("services are left: %q", got)
	}
	if got := c.must("config", "ls", "-q"); strings.Contains(got, "revision") {
		t.Errorf("revisions are shown as configs:\n%s", got)
	}
	c.must("rm", "rev")
	if _, problems, code := c.try(append(c.flags, "history", "rev")...); code != 1 || !strings.Contains(problems, "no history") {
		t.Errorf("after rm: exit code %d, %s", code, problems)
	}
}
