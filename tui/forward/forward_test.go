package forward

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// api answers one connection with a fixed head and then sends back what it gets.
type api struct{ answer string }

func (a api) ContainerInspect(context.Context, string) (container.InspectResponse, error) {
	return container.InspectResponse{}, errors.New("no such container")
}

func (a api) Dialer() func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		go func() {
			defer l.Close()
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			from := bufio.NewReader(conn)
			r, err := http.ReadRequest(from)
			if err != nil {
				return
			}
			fmt.Fprintf(conn, a.answer, r.URL)
			if strings.Contains(a.answer, " 101 ") {
				_, _ = io.Copy(conn, from)
			}
		}()
		return net.Dial("tcp", l.Addr().String())
	}
}

func TestAPortIsJoinedWithATasks(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	a := api{"HTTP/1.1 101 UPGRADED\r\n\r\n%s "}
	go func() {
		served <- Serve(ctx, l, func(ctx context.Context) (net.Conn, error) { return Dial(ctx, a, swarm.Task{ID: "t1"}, 80) }, func(err error) { t.Error(err) })
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "hello")
	conn.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(conn)
	if want := "/tasks/t1/forward?port=80 hello"; err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestRefusalsSayWhy(t *testing.T) {
	for answer, want := range map[string]string{
		"HTTP/1.1 502 Bad Gateway\r\n\r\n{\"message\":\"refused %.0s\"}":     "refused",
		"HTTP/1.1 404 Not Found\r\n\r\n{\"message\":\"page not found\"}%.0s": "only to tasks on the machine of its API",
	} {
		_, err := Dial(t.Context(), api{answer}, swarm.Task{ID: "t", Status: swarm.TaskStatus{ContainerStatus: &swarm.ContainerStatus{}}}, 80)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestSpecs(t *testing.T) {
	for in, want := range map[string]Spec{"80": {80, 80}, "8080:80": {8080, 80}, "0:80": {0, 80}, "": {}, "80:": {}, "a:80": {}, "80:0": {}, "1:2:3": {}, "99999": {}} {
		if got, err := ParseSpec(in); got != want || (err == nil) != (want != Spec{}) {
			t.Errorf("%q is %v (%v), want %v", in, got, err, want)
		}
	}
}
