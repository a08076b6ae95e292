package bus_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"orch/internal/bus/bustest"
)

// tunnelled is a connection from a manager to a worker, and the worker's end of it.
func tunnelled(t *testing.T) (near, far net.Conn) {
	t.Helper()
	c := bustest.New(t)
	s := c.Start(t)
	w := dial(t, c, s, "w1")
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	accepted := make(chan net.Conn, 1)
	l := w.Tunnels(ctx)
	go func() {
		if conn, err := l.Accept(); err == nil {
			accepted <- conn
		}
	}()
	near, err := s.Manager().Dial(t.Context(), "w1")
	if err != nil {
		t.Fatal(err)
	}
	far = <-accepted
	for _, conn := range []net.Conn{near, far} {
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { conn.Close() })
	}
	return near, far
}

// An echo that is slower than its client, with far more data than the windows hold, and an end of input that is no end of output.
func TestATunnelCarriesBothDirectionsAndTheEndOfEach(t *testing.T) {
	near, far := tunnelled(t)
	sent := make([]byte, 8<<20)
	_, _ = rand.Read(sent)
	go func() {
		_, _ = io.Copy(far, far)
		_, _ = far.Write([]byte("goodbye"))
		far.Close()
	}()
	go func() {
		_, _ = near.Write(sent)
		_ = near.(*net.UnixConn).CloseWrite()
	}()
	got, err := io.ReadAll(near)
	if err != nil || !bytes.Equal(got, append(sent, "goodbye"...)) {
		t.Errorf("%d bytes came back of %d: %v", len(got), len(sent)+7, err)
	}
}

func TestClosingOneEndOfATunnelClosesTheOther(t *testing.T) {
	near, far := tunnelled(t)
	near.Close()
	if _, err := io.ReadAll(far); err != nil {
		t.Errorf("the other end's end: %v", err)
	}
	var err error
	for i := 0; i < 1000 && err == nil; i++ {
		_, err = far.Write(make([]byte, 64<<10))
	}
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("writing to nobody: %v", err)
	}
}

func TestANodeThatIsNotThereIsSaid(t *testing.T) {
	s := bustest.New(t).Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.Manager().Dial(ctx, "nobody"); err == nil || !strings.Contains(err.Error(), "node nobody") {
		t.Errorf("dialled nobody: %v", err)
	}
}
