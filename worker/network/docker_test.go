package network

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/vishvananda/netlink"

	"orch/internal/bus"
)

const testImage = "orch-network-test"

// node is a real dockerd with one network of three servers and a client.
type node struct {
	t      *testing.T
	docker *client.Client
	net    *Network
	cancel context.CancelFunc
	spec   bus.Network
	dir    string
	ids    map[string]string
	done   chan error
}

func startNode(t *testing.T) *node {
	t.Helper()
	skip := func(why string) {
		if os.Getenv("ORCH_TEST_DOCKER") == "required" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	if os.Getuid() != 0 {
		skip("needs root: networks are the kernel's")
	}
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Ping(t.Context()); err != nil {
		skip("needs Docker: " + err.Error())
	}
	buildImage(t)
	n := &node{t: t, docker: c, dir: t.TempDir(), ids: map[string]string{}, spec: bus.Network{
		ID: "orchnettest", Name: "orch-network-test", Subnet: "10.213.82.0/24", Gateway: "10.213.82.1", NodeIP: "10.213.82.2", VNI: 82082, Ingress: true,
	}}
	n.boot()
	t.Cleanup(func() {
		for _, id := range n.ids {
			_ = c.ContainerRemove(context.Background(), id, container.RemoveOptions{Force: true})
		}
		if err := n.net.Teardown(context.Background()); err != nil {
			t.Errorf("teardown: %v", err)
		}
		n.halt()
		if _, err := netlink.LinkByName("ovb82082"); err == nil {
			t.Error("the bridge is left behind")
		}
	})
	if _, err := n.net.Ensure(t.Context(), n.spec); err != nil {
		t.Fatal(err)
	}
	return n
}

func buildImage(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	run := func(env, name string, args ...string) {
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), env)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	run("CGO_ENABLED=0", "go", "build", "-o", filepath.Join(dir, "peer"), "./testdata/peer")
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY peer /peer\nENTRYPOINT [\"/peer\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run("DOCKER_BUILDKIT=0", "docker", "build", "-q", "-t", testImage, dir)
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "-f", testImage).Run() })
}

// boot starts the node's network as a new process would.
func (n *node) boot() {
	ctx, cancel := context.WithCancel(context.Background())
	made, err := New(ctx, Config{NodeID: "n1", Docker: n.docker, StateDir: n.dir, Log: slog.New(slog.NewTextHandler(testWriter{n.t}, nil))})
	if err != nil {
		n.t.Fatal(err)
	}
	n.net, n.cancel, n.done = made, cancel, make(chan error, 1)
	go func() { n.done <- made.Run(ctx) }()
}

func (n *node) halt() { n.cancel(); <-n.done }

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) { w.t.Logf("%s", b); return len(b), nil }

// run starts a container, and attaches it unless told otherwise.
func (n *node) run(name, ip string, args ...string) string {
	n.t.Helper()
	ctx := n.t.Context()
	made, err := n.docker.ContainerCreate(ctx, &container.Config{Image: testImage, Cmd: args},
		&container.HostConfig{DNS: n.net.DNS([]string{n.spec.ID}), NetworkMode: container.NetworkMode(n.spec.Name)},
		&network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			n.spec.Name: {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: ip}},
		}}, nil, testImage+"-"+name)
	if err != nil {
		n.t.Fatal(err)
	}
	n.ids[name] = made.ID
	if err := n.docker.ContainerStart(ctx, made.ID, container.StartOptions{}); err != nil {
		n.t.Fatal(err)
	}
	return made.ID
}

func (n *node) attach(name string) {
	n.t.Helper()
	got, err := n.docker.ContainerInspect(n.t.Context(), n.ids[name])
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.net.Attach(n.t.Context(), name, got.ID, got.State.Pid, []string{n.spec.ID}); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) exec(in string, args ...string) string {
	n.t.Helper()
	out, err := exec.Command("docker", append([]string{"exec", n.ids[in], "/peer"}, args...)...).CombinedOutput()
	if err != nil {
		n.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

const testVIP = "10.213.82.200"

func (n *node) service(tasks ...int) bus.Service {
	s := bus.Service{ID: "web", Name: "web", VIPs: map[string]string{n.spec.ID: testVIP}, Aliases: map[string][]string{n.spec.ID: {"www"}}, Ports: []swarm.PortConfig{
		{Protocol: "tcp", TargetPort: 8080, PublishedPort: 38082}, {Protocol: "udp", TargetPort: 8080, PublishedPort: 38082},
	}}
	for _, i := range tasks {
		s.Backends = append(s.Backends, bus.Backend{TaskID: fmt.Sprint("t", i), NodeID: "n1", Slot: i, Addrs: map[string]string{n.spec.ID: fmt.Sprint("10.213.82.1", i)}})
	}
	s.Tasks = s.Backends
	return s
}

func (n *node) apply(services ...bus.Service) {
	n.t.Helper()
	if err := n.net.Apply(n.t.Context(), State{Networks: []bus.Network{n.spec}, Services: services}); err != nil {
		n.t.Fatal(err)
	}
}

// ask asks a server over the node's own address, and gives the name of the one that answered.
func ask(t *testing.T, network, address string) (server, client string) {
	t.Helper()
	c, err := net.DialTimeout(network, address, 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	fmt.Fprintln(c, "who")
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatalf("%s %s: %v", network, address, err)
	}
	server, client, _ = strings.Cut(strings.TrimSpace(line), " ")
	return server, client
}

func TestNode(t *testing.T) {
	n := startNode(t)
	for i := 1; i <= 3; i++ {
		n.run(fmt.Sprint("t", i), fmt.Sprint("10.213.82.1", i), "serve", fmt.Sprint("t", i))
		n.attach(fmt.Sprint("t", i))
	}
	n.run("client", "10.213.82.20", "serve", "client")
	n.attach("client")
	n.apply(n.service(1, 2, 3))

	t.Run("names resolve", func(t *testing.T) {
		for name, want := range map[string]int{"web": 1, "www": 1, "web.orch-network-test": 1, "tasks.web": 3, "web.2.t2": 1} {
			got := n.exec("client", "lookup", name)
			if len(strings.Fields(got)) != want || (want == 1 && name != "web.2.t2" && got != testVIP) {
				t.Errorf("%s: %s", name, got)
			}
		}
	})
	t.Run("a service address leads to every task and keeps the caller's", func(t *testing.T) {
		seen := map[string]bool{}
		for range 60 {
			server, from, _ := strings.Cut(n.exec("client", "ask", "tcp", "web:8080"), " ")
			seen[server] = true
			if !strings.HasPrefix(from, "10.213.82.20:") {
				t.Fatalf("the server saw %s", from)
			}
			if len(seen) == 3 {
				return
			}
		}
		t.Errorf("only %v answered", seen)
	})
	t.Run("a task reaches itself by the service", func(t *testing.T) {
		n.apply(n.service(1))
		if got := n.exec("t1", "ask", "tcp", "web:8080"); !strings.HasPrefix(got, "t1 ") {
			t.Error(got)
		}
	})
	t.Run("published", func(t *testing.T) {
		n.apply(n.service(1, 2, 3))
		for _, address := range []string{"127.0.0.1:38082", "[::1]:38082", "10.213.82.1:38082"} {
			for _, network := range []string{"tcp", "udp"} {
				if server, _ := ask(t, network, address); server == "" {
					t.Errorf("no answer from %s %s", network, address)
				}
			}
		}
	})
	t.Run("a UDP flow leaves a task that leaves rotation", func(t *testing.T) {
		// One source port, so that the kernel would keep the flow where it was.
		hold := func() string { return strings.Fields(n.exec("client", "ask", "udp:45082", testVIP+":8080"))[0] }
		first := hold()
		n.apply(n.service(others(first)...))
		if second := hold(); second == first {
			t.Errorf("still %s", second)
		}
		n.apply(n.service(1, 2, 3))
	})
	t.Run("without tasks a connection is refused at once", func(t *testing.T) {
		n.apply(n.service())
		out, err := exec.Command("docker", "exec", n.ids["client"], "/peer", "ask", "tcp", testVIP+":8080").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "refused") {
			t.Errorf("%s %v", out, err)
		}
		n.apply(n.service(1, 2, 3))
	})
	t.Run("what others remove is back within 2 s", func(t *testing.T) { n.remove(t) })
	t.Run("a new process leaves established connections alone", func(t *testing.T) { n.restart(t) })
	t.Run("a lookup before the namespace is ready still works", func(t *testing.T) {
		// Nothing attaches it: after the bounded wait the tasks' own addresses are given.
		id := n.run("early", "10.213.82.30", "ask", "tcp", "web:8080")
		if code := n.wait(id); code != 0 {
			t.Errorf("exit %d", code)
		}
	})
	t.Run("the first thing a container does is to call a service", func(t *testing.T) {
		for range 10 {
			id := n.run("first", "10.213.82.31", "ask", "tcp", "web:8080")
			if got, err := n.docker.ContainerInspect(t.Context(), id); err == nil && got.State.Running {
				_ = n.net.Attach(t.Context(), "first", id, got.State.Pid, []string{n.spec.ID}) // it may have ended meanwhile
			}
			if code := n.wait(id); code != 0 {
				t.Errorf("exit %d", code)
			}
			n.net.Detach("first")
			if err := n.docker.ContainerRemove(t.Context(), id, container.RemoveOptions{Force: true}); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("a stranger's port is an error of that port", func(t *testing.T) {
		l, err := net.Listen("tcp", ":38083")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s := n.service(1)
		s.Ports = append(s.Ports, swarm.PortConfig{Protocol: "tcp", TargetPort: 8080, PublishedPort: 38083})
		n.apply(s)
		if n.net.PortErrors()["38083/tcp"] == "" {
			t.Errorf("errors: %v", n.net.PortErrors())
		}
		ask(t, "tcp", "127.0.0.1:38082")
	})
}

// wait waits for a container's end and gives its exit code.
func (n *node) wait(id string) int64 {
	n.t.Helper()
	wait, errs := n.docker.ContainerWait(n.t.Context(), id, container.WaitConditionNotRunning)
	select {
	case s := <-wait:
		return s.StatusCode
	case err := <-errs:
		n.t.Fatal(err)
		return -1
	}
}

// others are the tasks besides the named.
func others(name string) (out []int) {
	for i := 1; i <= 3; i++ {
		if fmt.Sprint("t", i) != name {
			out = append(out, i)
		}
	}
	return out
}

func (n *node) restart(t *testing.T) {
	cmd := exec.Command("docker", "exec", "-i", n.ids["client"], "/peer", "hold", testVIP+":8080")
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); _ = cmd.Wait() }()
	answers := bufio.NewReader(out)
	say := func() string {
		_, _ = io.WriteString(in, "who\n")
		line, err := answers.ReadString('\n')
		if err != nil {
			t.Fatalf("the connection broke: %v", err)
		}
		return line
	}
	before := say()
	n.halt()
	during := say()
	// The kernel's path of published ports is still there, too.
	for _, network := range []string{"tcp", "udp"} {
		ask(t, network, "10.213.82.1:38082")
	}
	n.boot()
	n.apply(n.service(1, 2, 3))
	n.attach("client")
	if after := say(); before != during || during != after {
		t.Errorf("answers by %q, %q, %q", before, during, after)
	}
	if got := n.exec("client", "ask", "tcp", "web:8080"); !strings.HasPrefix(got, "t") {
		t.Error(got)
	}
}

// remove takes away what the node's network consists of, piece by piece.
func (n *node) remove(t *testing.T) {
	inspect, err := n.docker.ContainerInspect(t.Context(), n.ids["client"])
	if err != nil {
		t.Fatal(err)
	}
	for name, command := range map[string][]string{
		"bridge":               {"ip", "link", "del", "ovb82082"},
		"the node's table":     {"nft", "delete", "table", "ip", "orch_" + n.net.instance},
		"the container's rule": {"nsenter", "-t", fmt.Sprint(inspect.State.Pid), "-n", "nft", "delete", "table", "ip", "orch"},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		begin := time.Now()
		back := func() bool {
			attached, _ := exec.Command("ip", "-o", "link", "show", "master", "ovb82082").Output()
			node, _ := exec.Command("nft", "list", "table", "ip", "orch_"+n.net.instance).Output()
			task, _ := exec.Command("nsenter", "-t", fmt.Sprint(inspect.State.Pid), "-n", "nft", "list", "table", "ip", "orch").Output()
			return strings.Count(string(attached), "\n") >= 4 && strings.Contains(string(node), "tcp38082") && strings.Contains(string(task), "10.213.82.11")
		}
		for !back() {
			if time.Since(begin) > 5*time.Second {
				t.Fatalf("%s: not back", name)
			}
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("%s: back after %s", name, took)
		}
		if got := n.exec("client", "ask", "tcp", testVIP+":8080"); !strings.HasPrefix(got, "t") {
			t.Errorf("%s: %s", name, got)
		}
		ask(t, "tcp", "10.213.82.1:38082")
	}
}
