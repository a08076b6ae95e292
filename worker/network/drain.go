package network

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"orch/worker/network/host"
)

const (
	// drainEvery is the pause between two looks. A connection that was on its way when the last node took the task out of
	// rotation is there by the second.
	drainEvery = 10 * time.Millisecond
	// drainLimit is for a program that does not take its connections at all.
	drainLimit = 500 * time.Millisecond
)

// Drain returns once the task has taken up every connection and read all that was sent to it: what its stop signal finds is
// then the program's own to finish. A connection that the kernel has accepted and the program has not would be reset.
func (n *Network) Drain(ctx context.Context, taskID string) {
	n.mu.Lock()
	t := n.tasks[taskID]
	n.mu.Unlock()
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for quiet := 0; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if anySocket(t.pid, waiting) {
			quiet = 0
		} else if quiet++; quiet == 2 {
			n.forget(t)
			return
		}
	}
}

// forget ends the tracking of a task's connections, if all are over. The engine does it when the container ends, one by one from a
// list: a client that has meanwhile taken the port of an old connection for a new one, to another task, loses that.
func (n *Network) forget(t *task) {
	if n.host == nil || anySocket(t.pid, open) {
		return
	}
	if err := host.Forget(t.addrs); err != nil {
		n.cfg.Log.Debug("connections that a task has had", "err", err)
	}
}

// anySocket says whether something is true of the TCP sockets of a process' network namespace. Of a namespace that cannot be looked
// into nothing is.
func anySocket(pid int, is func(table []byte) bool) bool {
	for _, table := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err == nil && is(b) {
			return true
		}
	}
	return false
}

// States of sockets. Source: linux, include/net/tcp_states.h.
const (
	established = "01"
	synReceived = "03"
	timeWait    = "06"
	listening   = "0A"
)

// socket is a line of a table of /proc/net/tcp's form.
type socket struct {
	port, state string
	// unread are bytes, or of a listener connections that it has yet to accept.
	unread uint64
}

func sockets(table []byte) (out []socket) {
	for line := range bytes.Lines(table) {
		f := bytes.Fields(line)
		if len(f) < 5 {
			continue
		}
		_, port, _ := bytes.Cut(f[1], []byte(":"))
		_, queue, ok := bytes.Cut(f[4], []byte(":"))
		if !ok {
			continue // the headings
		}
		unread, err := strconv.ParseUint(string(queue), 16, 64)
		if err != nil {
			continue
		}
		out = append(out, socket{string(port), string(f[3]), unread})
	}
	return out
}

// waiting says whether there are connections being made, such as a listener has yet to accept, or bytes that have yet to be read.
func waiting(table []byte) bool {
	return slices.ContainsFunc(sockets(table), func(s socket) bool {
		return s.state == synReceived || (s.state == established || s.state == listening) && s.unread > 0
	})
}

// open says whether a connection that came to a listener is not over yet.
func open(table []byte) bool {
	all := sockets(table)
	served := map[string]bool{}
	for _, s := range all {
		if s.state == listening {
			served[s.port] = true
		}
	}
	return slices.ContainsFunc(all, func(s socket) bool { return served[s.port] && s.state != listening && s.state != timeWait })
}
