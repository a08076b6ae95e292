package worker

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"time"

	"github.com/vishvananda/netns"

	"orch/worker/spec"
)

// dialTimeout bounds connecting to a port of a task: it is on this machine.
const dialTimeout = 3 * time.Second

// Dial connects to a port of a task's container from within the container's network, so that what listens on localhost only is
// reached, too.
func (a *Agent) Dial(ctx context.Context, task string, port uint16) (net.Conn, error) {
	list, err := a.Engine.List(ctx, spec.LabelTask, task)
	if err != nil {
		return nil, fmt.Errorf("connect to task %s: %w", task, err)
	}
	for _, c := range list {
		state, err := a.Engine.Inspect(ctx, c.ID)
		if err != nil || state.PID == 0 {
			continue
		}
		conn, err := dialWithin(ctx, state.PID, port)
		if err != nil {
			return nil, fmt.Errorf("connect to port %d of task %s: %w", port, task, err)
		}
		return conn, nil
	}
	return nil, fmt.Errorf("connect to task %s: it does not run here", task)
}

// dialWithin connects to localhost in the network namespace of a process, or to the namespace's own addresses where
// nothing listens there. The socket stays in that namespace, the thread does not.
func dialWithin(ctx context.Context, pid int, port uint16) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked where the way back fails: the thread ends with its goroutine
		own, err := netns.Get()
		if err != nil {
			done <- result{nil, err}
			return
		}
		defer own.Close()
		there, err := netns.GetFromPid(pid)
		if err != nil {
			done <- result{nil, err}
			return
		}
		defer there.Close()
		if err := netns.Set(there); err != nil {
			done <- result{nil, err}
			return
		}
		conn, err := dialAny(ctx, port)
		if netns.Set(own) == nil {
			runtime.UnlockOSThread()
		}
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// dialAny tries one address after the other: a dialer that races them would start threads of other namespaces.
func dialAny(ctx context.Context, port uint16) (net.Conn, error) {
	hosts := []string{"127.0.0.1", "::1"}
	if addrs, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
				hosts = append(hosts, p.Addr().String())
			}
		}
	}
	var first error
	for _, h := range hosts {
		conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", net.JoinHostPort(h, strconv.Itoa(int(port))))
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}
