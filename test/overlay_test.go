package test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"orch/test/lab"
)

// mesh is a cluster of two machines, a manager and a worker, with the test program's image.
func mesh(t *testing.T) (manager, worker node) {
	t.Helper()
	l := lab.New(t, lab.Config{Hosts: 2})
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	manager = start(t, l.Hosts[0])
	token := strings.TrimSpace(manager.orch("token", "worker", "-q"))
	worker = join(t, l.Hosts[1], token, manager.Addr)
	eventually(t, 10*time.Second, "two ready nodes", func() bool { return strings.Count(manager.orch("node", "ls"), " ready ") == 2 })
	return manager, worker
}

// docker runs the stock CLI against orch's socket of the host.
func (n node) docker(args ...string) (string, error) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), step)
	defer cancel()
	out, err := n.Command(ctx, append([]string{"docker", "-H", "unix://" + n.socket()}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (n node) mustDocker(args ...string) string {
	n.t.Helper()
	out, err := n.docker(args...)
	if err != nil {
		n.t.Fatalf("docker %s on %s: %v: %s\nthe daemon's log:\n%s", strings.Join(args, " "), n.Name, err, out, n.log())
	}
	return out
}

// An attachable network takes containers that are no tasks, from any node.
func TestAttach(t *testing.T) {
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skip("SKIPPED: the docker CLI is not installed")
	}
	manager, worker := mesh(t)
	manager.mustDocker("network", "create", "-d", "overlay", "--attachable", "back")
	manager.mustDocker("network", "create", "-d", "overlay", "other")
	manager.mustDocker("service", "create", "-q", "--name", "web", "--network", "back", "--hostname", "web",
		"--constraint", "node.hostname=="+manager.Name, "--no-resolve-image", lab.Image, "serve", ":8080")

	// From the node that has no task on it: the service by its name, first thing.
	if got := worker.mustDocker("run", "--rm", "--network", "back", lab.Image, "get", "http://web:8080"); got != "web" {
		t.Errorf("a container of the worker hears %q from web", got)
	}
	if out, err := worker.docker("run", "--rm", "--network", "other", lab.Image, "exit", "0"); err == nil || !strings.Contains(out, "network other not manually attachable") {
		t.Errorf("on a network that is not attachable: %v, %s", err, out)
	}
	if out, err := worker.docker("run", "--rm", "--network", "nowhere", lab.Image, "exit", "0"); err == nil || !strings.Contains(out, "nowhere not found") {
		t.Errorf("on a network that there is not: %v, %s", err, out)
	}
	standalone(t, manager, worker)
	looked(t, manager, worker)
	eventually(t, 15*time.Second, "the network has left the worker", func() bool {
		return worker.sh("docker network ls -q --filter name=back") == ""
	})
	if out, err := manager.docker("network", "rm", "back"); err == nil || !strings.Contains(out, "in use by service") {
		t.Errorf("a network in use is removed: %v, %s", err, out)
	}
}

// standalone has a container on the worker that others find by its names, at an address that nobody else gets.
func standalone(t *testing.T, manager, worker node) {
	t.Helper()
	worker.mustDocker("run", "-d", "--name", "lone", "--hostname", "lone", "--network", "back", "--network-alias", "alias", lab.Image, "serve", ":80")
	manager.mustDocker("run", "-d", "--name", "caller", "--network", "back", lab.Image, "sleep")
	addr := func(n node, name string) string {
		return n.mustDocker("inspect", name, "--format", "{{.NetworkSettings.Networks.back.IPAddress}}")
	}
	at := addr(worker, "lone")
	if at == addr(manager, "caller") {
		t.Errorf("two containers have the address %s", at)
	}
	for _, name := range []string{"lone", "alias", at} {
		eventually(t, 10*time.Second, name+" answers from the other node", func() bool {
			out, err := manager.docker("exec", "caller", "/app", "get", "http://"+name)
			return err == nil && out == "lone"
		})
	}
	if out, err := worker.docker("run", "--rm", "--network", "back", "--ip", at, lab.Image, "exit", "0"); err == nil || !strings.Contains(out, "already in use") {
		t.Errorf("an address that is taken: %v, %s", err, out)
	}
	worker.mustDocker("restart", "-t", "1", "lone")
	if again := addr(worker, "lone"); again != at {
		t.Errorf("after a restart %s is at %s", at, again)
	}
	if out := manager.mustDocker("network", "inspect", "back"); !strings.Contains(out, `"caller"`) {
		t.Errorf("the network does not show its container:\n%s", out)
	}
	connected(t, manager)
	worker.mustDocker("rm", "-f", "lone")
	manager.mustDocker("rm", "-f", "caller")
	eventually(t, 10*time.Second, "its name is forgotten", func() bool {
		_, err := manager.docker("run", "--rm", "--network", "back", lab.Image, "get", "http://lone")
		return err != nil
	})
}

// looked asks the nodes how their networks are.
func looked(t *testing.T, manager, worker node) {
	t.Helper()
	out := manager.orch("net", "check")
	if strings.Count(out, "ok ") != 2 || !strings.Contains(out, worker.Addr) {
		t.Errorf("the ways between the nodes:\n%s", out)
	}
	worker.mustDocker("run", "-d", "--name", "seen", "--network", "back", lab.Image, "sleep")
	eventually(t, 10*time.Second, "both nodes have of the network what they should", func() bool {
		out = manager.orch("net", "inspect", "back")
		return strings.Count(out, "as it should be") == 2 && strings.Contains(out, " seen ") && strings.Contains(out, "service web")
	})
	t.Log("\n" + out)
	worker.mustDocker("rm", "-f", "seen")
	if _, stderr, code := manager.try("net", "inspect", "nope"); code != 1 || !strings.Contains(stderr, "nope not found") {
		t.Errorf("a network that there is not: exit code %d, %s", code, stderr)
	}
	if _, stderr, code := worker.try("net", "check"); code != 1 || !strings.Contains(stderr, "needs a manager") {
		t.Errorf("on a worker: exit code %d, %s", code, stderr)
	}
}

// connected joins a running container to the network, and parts it again.
func connected(t *testing.T, n node) {
	t.Helper()
	n.mustDocker("run", "-d", "--name", "late", lab.Image, "sleep")
	n.mustDocker("network", "connect", "--alias", "tardy", "back", "late")
	eventually(t, 10*time.Second, "a container that was connected is found", func() bool {
		out, err := n.docker("run", "--rm", "--network", "back", lab.Image, "get", "http://tardy")
		return err != nil && strings.Contains(out, "connection refused")
	})
	n.mustDocker("network", "disconnect", "back", "late")
	if out := n.mustDocker("inspect", "late", "--format", "{{json .NetworkSettings.Networks}}"); strings.Contains(out, "back") {
		t.Errorf("still on the network: %s", out)
	}
	n.mustDocker("rm", "-f", "late")
}

// secretWord is in every answer that the test below looks for on the wire.
const secretWord = "orch-plain-text-on-the-wire"

// Nothing of an encrypted network can be read between nodes, by IPv4 or IPv6, and everything of a plain one can: the test looks
// where it should.
func TestEncrypted(t *testing.T) {
	manager, worker := mesh(t)
	for _, n := range []struct{ name, opt string }{{"sealed", "encrypted"}, {"open", "com.docker.network.driver.mtu=1400"}} {
		manager.mustDocker("network", "create", "-d", "overlay", "--attachable", "--ipv6", "--opt", n.opt, n.name)
		manager.mustDocker("service", "create", "-d", "-q", "--name", n.name+"-web", "--network", n.name, "--hostname", secretWord,
			"--constraint", "node.hostname=="+manager.Name, "--no-resolve-image", lab.Image, "serve", ":8080")
	}
	for _, c := range []struct {
		network  string
		readable bool
	}{{"sealed", false}, {"open", true}} {
		worker.mustDocker("run", "-d", "--name", c.network, "--network", c.network, lab.Image, "sleep")
		heard, err := worker.Capture()
		if err != nil {
			t.Fatal(err)
		}
		for _, transport := range []string{"tcp4", "tcp6"} {
			url := "http://" + c.network + "-web:8080"
			eventually(t, 30*time.Second, "an answer on "+c.network+" by "+transport, func() bool {
				out, err := worker.docker("exec", "-e", "TRANSPORT="+transport, c.network, "/app", "get", url)
				if err != nil {
					t.Log(out)
				}
				return err == nil && out == secretWord
			})
		}
		readable := false
		frames := heard.Stop()
		for _, f := range frames {
			readable = readable || bytes.Contains(f, []byte(secretWord))
		}
		if readable != c.readable {
			t.Errorf("on %s the answer can be read on the wire: %v (%d frames)", c.network, readable, len(frames))
		}
		if rate, err := worker.docker("exec", c.network, "/app", "fetch", "http://"+c.network+"-web:8080/bulk/64"); err != nil {
			t.Errorf("64 MiB on %s: %v: %s", c.network, err, rate)
		} else {
			t.Logf("64 MiB on %s: %s", c.network, rate)
		}
	}
}

// startsVariable says how many containers TestFirstMillisecond starts; a proof takes 500.
const startsVariable = "ORCH_STARTS"

// What a container does first, in the first millisecond of its life, works: it looks a service up and connects to it.
func TestFirstMillisecond(t *testing.T) {
	manager, _ := mesh(t)
	starts := 20
	if s := os.Getenv(startsVariable); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s: %v", startsVariable, err)
		}
		starts = n
	}
	manager.mustDocker("network", "create", "-d", "overlay", "back")
	manager.mustDocker("service", "create", "-q", "--name", "web", "--replicas", "2", "--network", "back", "--no-resolve-image", lab.Image, "serve", ":8080")
	manager.mustDocker("service", "create", "-d", "-q", "--name", "first", "--mode", "replicated-job", "--replicas", strconv.Itoa(starts), "--max-concurrent", "8",
		"--restart-condition", "none", "--network", "back", "--no-resolve-image", lab.Image, "get", "http://web:8080")
	count := func(state string) int {
		return strings.Count(manager.mustDocker("service", "ps", "first", "--format", "{{.CurrentState}}"), state)
	}
	eventually(t, time.Minute+time.Duration(starts)*4*time.Second, "all containers have ended", func() bool { return count("Complete")+count("Failed") == starts })
	if failed := count("Failed"); failed > 0 {
		t.Errorf("%d of %d did not reach the service:\n%s", failed, starts, manager.mustDocker("service", "logs", "first"))
	}
}
