// Package forward brings ports of tasks to this machine: a listener on localhost whose connections end in a task's container, on
// whatever node that runs. orch carries them over its API; of a Docker Swarm only the tasks on the engine's own machine can be reached.
package forward

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
)

// dialTimeout bounds the way to a task, over two machines.
const dialTimeout = 10 * time.Second

// Client is the part of the Docker client that this needs.
type Client interface {
	Dialer() func(context.Context) (net.Conn, error)
	ContainerInspect(context.Context, string) (container.InspectResponse, error)
}

// Spec is LOCAL:PORT or PORT, which is both.
type Spec struct{ Local, Port uint16 }

// ParseSpec reads a Spec; local port 0 is any that is free.
func ParseSpec(s string) (Spec, error) {
	local, port, ok := strings.Cut(s, ":")
	if !ok {
		port = local
	}
	l, err1 := strconv.ParseUint(local, 10, 16)
	p, err2 := strconv.ParseUint(port, 10, 16)
	if err1 != nil || err2 != nil || p == 0 {
		return Spec{}, fmt.Errorf("port %q: want PORT or LOCAL:PORT, such as 8080:80", s)
	}
	return Spec{uint16(l), uint16(p)}, nil
}

// Dial connects to a port of a running task.
func Dial(ctx context.Context, c Client, t swarm.Task, port uint16) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := c.Dialer()(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	joined, err := upgrade(conn, t.ID, port)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if errors.Is(err, errNoForward) {
		conn.Close()
		return direct(ctx, c, t, port)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return joined, nil
}

// errNoForward says that the API is not orch's.
var errNoForward = errors.New("the API does not forward")

func upgrade(conn net.Conn, task string, port uint16) (net.Conn, error) {
	// Written by hand: net/http would not let go of the connection.
	_, err := fmt.Fprintf(conn, "POST /tasks/%s/forward?port=%d HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n", task, port)
	if err != nil {
		return nil, err
	}
	from := bufio.NewReader(conn)
	r, err := http.ReadResponse(from, &http.Request{Method: http.MethodPost})
	if err != nil {
		return nil, err
	}
	if r.StatusCode == http.StatusSwitchingProtocols {
		return &buffered{conn, from}, nil
	}
	defer r.Body.Close()
	var refusal struct{ Message string }
	if json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&refusal) != nil || refusal.Message == "" {
		refusal.Message = r.Status
	}
	if r.StatusCode == http.StatusNotFound && strings.Contains(refusal.Message, "page not found") {
		return nil, errNoForward
	}
	return nil, errors.New(refusal.Message)
}

// buffered is a connection of which something has been read ahead.
type buffered struct {
	net.Conn
	from *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.from.Read(p) }

// CloseWrite ends this direction where the connection can.
func (b *buffered) CloseWrite() error {
	if half, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// direct connects to the container's own address, which works on its machine.
func direct(ctx context.Context, c Client, t swarm.Task, port uint16) (net.Conn, error) {
	if t.Status.ContainerStatus == nil {
		return nil, errors.New("the task has no container")
	}
	i, err := c.ContainerInspect(ctx, t.Status.ContainerStatus.ContainerID)
	if err != nil {
		return nil, fmt.Errorf("swarm mode of Docker itself forwards only to tasks on the machine of its API: %w", err)
	}
	err = errors.New("the container has no address")
	if i.NetworkSettings == nil {
		return nil, err
	}
	for _, n := range i.NetworkSettings.Networks {
		if n.IPAddress == "" {
			continue
		}
		var conn net.Conn
		if conn, err = (&net.Dialer{Timeout: dialTimeout / 4}).DialContext(ctx, "tcp", net.JoinHostPort(n.IPAddress, strconv.Itoa(int(port)))); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// Serve joins every connection to l with one that dial makes, until ctx ends; failed is told of those that could not be made.
func Serve(ctx context.Context, l net.Listener, dial func(context.Context) (net.Conn, error), failed func(error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var joined sync.WaitGroup
	defer joined.Wait()
	defer cancel()
	for {
		client, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listen on %s: %w", l.Addr(), err)
		}
		joined.Go(func() {
			defer client.Close()
			backend, err := dial(ctx)
			if err != nil {
				failed(err)
				return
			}
			join(ctx, client, backend)
		})
	}
}

// join copies both ways until both have ended or ctx does.
func join(ctx context.Context, client, backend net.Conn) {
	defer backend.Close()
	defer context.AfterFunc(ctx, func() { client.Close(); backend.Close() })()
	up := make(chan struct{})
	go func() {
		defer close(up)
		pass(backend, client)
	}()
	pass(client, backend)
	<-up
}

// pass copies one way and passes the end on; what cannot be written any more ends the other way, too.
func pass(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		to.Close()
		from.Close()
	}
}
