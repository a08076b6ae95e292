package network

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"testing"
	"time"
)

func TestWaiting(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	for name, tt := range map[string]struct {
		lines string
		want  bool
	}{
		"nothing":                   {head, false},
		"an idle listener":          {head + "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n", false},
		"one to accept":             {head + "   0: 00000000:1F90 00000000:0000 0A 00000000:00000001 00:00000000 00000000     0        0 1 1\n", true},
		"one being made":            {head + "   0: 0100007F:1F90 0100007F:D431 03 00000000:00000000 00:00000000 00000000     0        0 1 1\n", true},
		"a quiet connection":        {head + "   0: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 1 1\n", false},
		"an answer under way":       {head + "   0: 0100007F:1F90 0100007F:D431 01 000000FF:00000000 00:00000000 00000000     0        0 1 1\n", false},
		"a request not read":        {head + "   0: 0100007F:1F90 0100007F:D431 01 00000000:0000004E 00:00000000 00000000     0        0 1 1\n", true},
		"left of a connection":      {head + "   0: 0100007F:1F90 0100007F:D431 06 00000000:00000001 00:00000000 00000000     0        0 1 1\n", false},
		"another kernel's nonsense": {"one two three four five:six\nshort\n", false},
	} {
		if got := waiting([]byte(tt.lines)); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestOpen(t *testing.T) {
	const listener = "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
	of := func(port, state string) string {
		return listener + "   1: 0A00000A:" + port + " 0300000A:D431 " + state + " 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
	}
	for name, tt := range map[string]struct {
		lines string
		want  bool
	}{
		"a listener":         {listener, false},
		"a quiet connection": {of("1F90", "01"), true},
		"half closed":        {of("1F90", "05"), true},
		"over":               {of("1F90", "06"), false},
		"the task's own":     {of("A001", "01"), false},
	} {
		if got := open([]byte(tt.lines)); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// What the kernel of this machine says of a connection that nobody accepts.
func TestPendingSeesTheBacklog(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	table := func() []byte { // of this listener only, and of this thread: the first one may have been left in another namespace
		b, err := os.ReadFile("/proc/thread-self/net/tcp")
		if err != nil {
			t.Skip("SKIPPED: no /proc/thread-self/net/tcp")
		}
		return linesOf(b, l.Addr().(*net.TCPAddr).Port)
	}
	if waiting(table()) {
		t.Error("an idle listener has something to take")
	}
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// The last part of the handshake may still be on its way.
	for deadline := time.Now().Add(5 * time.Second); !waiting(table()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a connection in the backlog is not seen")
		}
	}
}

func linesOf(table []byte, port int) (out []byte) {
	local := fmt.Sprintf(":%04X ", port)
	for line := range bytes.Lines(table) {
		if len(line) > 20 && string(line[14:20]) == local[:6] {
			out = append(out, line...)
		}
	}
	return out
}

func FuzzWaiting(f *testing.F) {
	f.Add([]byte("0: 0:1 0:0 0A 0:1\n"))
	f.Fuzz(func(_ *testing.T, b []byte) { waiting(b) })
}
