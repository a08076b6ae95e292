package network

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"
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
		if pending(t.pid) {
			quiet = 0
		} else if quiet++; quiet == 2 {
			return
		}
	}
}

// pending says whether anything waits for the programs of a process' network namespace. A namespace that cannot be looked
// into has nothing to wait for.
func pending(pid int) bool {
	for _, table := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err == nil && waiting(b) {
			return true
		}
	}
	return false
}

// States of sockets. Source: linux, include/net/tcp_states.h.
const (
	established = "01"
	synReceived = "03"
	listening   = "0A"
)

// waiting reads a table of /proc/net/tcp's form: connections being made, those that a listener has yet to accept (its
// receive queue), and bytes that have yet to be read.
func waiting(table []byte) bool {
	for line := range bytes.Lines(table) {
		f := bytes.Fields(line)
		if len(f) < 5 {
			continue
		}
		_, queue, ok := bytes.Cut(f[4], []byte(":"))
		if !ok {
			continue // the headings
		}
		unread, err := strconv.ParseUint(string(queue), 16, 64)
		switch string(f[3]) {
		case synReceived:
			return true
		case established, listening:
			if err == nil && unread > 0 {
				return true
			}
		}
	}
	return false
}
