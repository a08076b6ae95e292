package ingress

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"testing"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"orch/internal/bus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTargets(t *testing.T) {
	networks := []bus.Network{{ID: "front"}, {ID: "in", Ingress: true}}
	service := bus.Service{
		Labels: map[string]string{proxyLabel: "v2"},
		Ports: []swarm.PortConfig{
			{TargetPort: 80, PublishedPort: 8080},
			{TargetPort: 81, PublishedPort: 8081, PublishMode: swarm.PortConfigPublishModeHost},
			{TargetPort: 82},
		},
		Backends: []bus.Backend{
			{Addrs: map[string]string{"front": "10.0.1.3", "in": "10.0.0.3"}}, {Addrs: map[string]string{"front": "10.0.1.2"}}, {Addrs: map[string]string{"other": "10.0.9.9"}},
		},
	}
	want := map[Port]Target{{"tcp", 8080}: {Proxy: true, Backends: []netip.AddrPort{
		netip.MustParseAddrPort("10.0.0.3:80"), netip.MustParseAddrPort("10.0.1.2:80"),
	}}}
	if d := cmp.Diff(want, Targets(networks, []bus.Service{service}), cmpopts.EquateComparable(netip.AddrPort{})); d != "" {
		t.Error(d)
	}
}

// server answers each line with its name.
func server(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for in := bufio.NewScanner(c); in.Scan(); {
					fmt.Fprintln(c, name)
				}
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func free(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

type conn struct {
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, port uint16) conn {
	t.Helper()
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		t.Fatal(err)
	}
	return conn{c, bufio.NewReader(c)}
}

func (c conn) ask(t *testing.T) string {
	t.Helper()
	fmt.Fprintln(c, "who")
	line, err := c.in.ReadString('\n')
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return line
}

func TestAConnectionIsTriedOnAnotherTask(t *testing.T) {
	i, port := New(), free(t)
	defer i.Close()
	refuses := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), free(t))
	i.Apply(t.Context(), map[Port]Target{{"tcp", port}: {Backends: []netip.AddrPort{refuses, server(t, "good")}}})
	for range 20 {
		c := dial(t, port)
		if got := c.ask(t); got != "good\n" {
			t.Fatalf("answer %q", got)
		}
		c.Close()
	}
}

func TestATaskThatLeavesKeepsItsConnections(t *testing.T) {
	i, port := New(), free(t)
	defer i.Close()
	at := Port{"tcp", port}
	i.Apply(t.Context(), map[Port]Target{at: {Backends: []netip.AddrPort{server(t, "old")}}})
	c := dial(t, port)
	defer c.Close()
	c.ask(t)
	i.Apply(t.Context(), map[Port]Target{at: {Backends: []netip.AddrPort{server(t, "new")}}})
	if got := c.ask(t); got != "old\n" {
		t.Errorf("the established connection: %q", got)
	}
	d := dial(t, port)
	defer d.Close()
	if got := d.ask(t); got != "new\n" {
		t.Errorf("a new connection: %q", got)
	}
}

func TestAPortThatIsTakenIsToldAndTriedAgain(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	i, p := New(), Port{"tcp", uint16(l.Addr().(*net.TCPAddr).Port)}
	defer i.Close()
	want := map[Port]Target{p: {}}
	i.Apply(t.Context(), want)
	<-i.Changed()
	if i.Errors()[p.String()] == "" {
		t.Error("no error")
	}
	l.Close()
	i.Apply(t.Context(), want)
	<-i.Changed()
	if len(i.Errors()) != 0 {
		t.Errorf("errors %v", i.Errors())
	}
}

func TestProxyHeader(t *testing.T) {
	got := proxyHeader(netip.MustParseAddrPort("1.2.3.4:258"), netip.MustParseAddrPort("5.6.7.8:80"))
	want := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x01\x02\x00\x50"
	if string(got) != want {
		t.Errorf("%q", got)
	}
}
