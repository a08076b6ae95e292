package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"orch/test/lab"
)

const builtApplication = `
name: shop
services:
  web:
    build:
      context: .
      dockerfile_inline: |
        FROM %s
        LABEL version=%d
    command: [serve, ":8080"]
    stop_grace_period: 1s
    deploy: {replicas: 4, update_config: {parallelism: 4, monitor: 1s}}
`

// What was built on one machine runs on the others without a registry; a build after it replaces it there, too, and
// a rollback goes back to the one before.
func TestABuildReachesAllMachines(t *testing.T) {
	l := lab.New(t, lab.Config{Hosts: 2})
	if err := l.Hosts[0].Load(t.Context(), lab.Image); err != nil {
		t.Fatal(err)
	}
	first := start(t, l.Hosts[0])
	second := join(t, l.Hosts[1], strings.TrimSpace(first.orch("token", "worker", "-q")), first.Addr)
	eventually(t, 10*time.Second, "two ready nodes", func() bool { return strings.Count(first.orch("node", "ls"), " ready ") == 2 })

	// versions are the builds that run on a machine.
	versions := func(n node) string {
		return strings.Join(strings.Fields(n.sh(`docker ps -q | xargs -r docker inspect -f '{{index .Config.Labels "version"}}' | sort -u`)), " ")
	}
	expect := func(want string) {
		t.Helper()
		eventually(t, 20*time.Second, "version "+want+" alone on both machines", func() bool { return versions(first) == want && versions(second) == want })
	}
	for version := range 2 {
		began := time.Now()
		first.orch("deploy", "-c", first.file("compose.yml", fmt.Sprintf(builtApplication, lab.Image, version+1)), "--timeout", "60s")
		t.Logf("deployed in %s", time.Since(began))
		expect(fmt.Sprint(version + 1))
	}
	first.orch("rollback", "shop", "--timeout", "60s")
	expect("1")
	if _, problems, code := first.try("deploy", "-c", first.file("nosuch.yml", "name: none\nservices: {web: {image: nosuch.example/app:1}}\n"), "--timeout", "60s"); code == 0 ||
		!strings.Contains(problems, "no other node has it either") {
		t.Errorf("an image that nobody has: exit code %d, %s", code, problems)
	}
}
