package bus_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"orch/internal/bus"
	"orch/internal/bus/bustest"
)

// join starts a further manager; it ends with the test.
func join(t *testing.T, cfg bus.ServerConfig) *bus.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	began := time.Now()
	s, err := bus.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s joined in %s", cfg.NodeID, time.Since(began))
	t.Cleanup(func() { bustest.Stop(t, s) })
	return s
}

func replicate(t *testing.T, s *bus.Server, n int) {
	t.Helper()
	began := time.Now()
	soon(t, func(ctx context.Context) error { return s.Replicate(ctx, n) })
	t.Logf("%d replicas in %s", n, time.Since(began))
}

func put(t *testing.T, s *bus.Server, key, value string) {
	t.Helper()
	if _, err := state(t, s).Publish(t.Context(), bus.StateSubject(key), []byte(value)); err != nil {
		t.Fatal(err)
	}
}

// From one manager to three and back, through the loss of one: what was written stays.
func TestGrowAndShrink(t *testing.T) {
	c := bustest.New(t)
	m1 := c.Start(t)
	put(t, m1, "task.a", "1")
	cfg2 := c.Joiner(t, "m2", m1.RouteAddr())
	m2 := join(t, cfg2)
	replicate(t, m1, 2)
	m3 := join(t, c.Joiner(t, "m3", m1.RouteAddr(), m2.RouteAddr()))
	replicate(t, m2, 3)
	put(t, m3, "task.b", "2")

	// One is lost; the others go on, and bury it.
	bustest.Stop(t, m2)
	soon(t, func(ctx context.Context) error {
		_, err := state(t, m3).Publish(ctx, bus.StateSubject("task.c"), []byte("3"))
		return err
	})
	if err := m3.RemoveMember(t.Context(), "m2"); err != nil {
		t.Fatal(err)
	}
	replicate(t, m1, 2)
	for key, want := range map[string]string{"task.a": "1", "task.b": "2", "task.c": "3"} {
		if got := last(t, m1, key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	// The same machine joins again, from nothing.
	cfg2.Dir, cfg2.Name = t.TempDir(), "m2-again"
	cfg2.Routes = []string{m1.RouteAddr(), m3.RouteAddr()}
	m2 = join(t, cfg2)
	replicate(t, m1, 3)

	for i, s := range []*bus.Server{m3, m2} {
		if err := m1.RemoveMember(t.Context(), []string{"m3", "m2-again"}[i]); err != nil {
			t.Fatal(err)
		}
		replicate(t, m1, 2-i)
		bustest.Stop(t, s)
	}
	put(t, m1, "task.d", "4")
	bustest.Stop(t, m1)
	c.Config.Founding = false
	began := time.Now()
	m1 = c.Start(t)
	t.Logf("the last one restarted in %s", time.Since(began))
	for key, want := range map[string]string{"task.a": "1", "task.b": "2", "task.c": "3", "task.d": "4"} {
		if got := last(t, m1, key); got != want {
			t.Errorf("alone again: %s is %q, want %q", key, got, want)
		}
	}
}

// Two fresh servers that find each other before they find the cluster would elect one of them, and
// the cluster with all its state would follow. Joins are one at a time (store/jslog's turn); this is what holds
// when that fails.
func TestTwoJoinersNeverFoundACluster(t *testing.T) {
	c := bustest.New(t)
	m1 := c.Start(t)
	put(t, m1, "task.a", "1")
	m1Route := m1.RouteAddr()
	// The cluster is away while the two start; they know each other.
	bustest.Stop(t, m1)
	cfg2 := c.Joiner(t, "m2", m1Route)
	cfg3 := c.Joiner(t, "m3", m1Route)
	addr := freePort(t)
	cfg2.RouteAddr = addr
	cfg3.Routes = append(cfg3.Routes, addr)
	joined := make(chan error, 2)
	for _, cfg := range []bus.ServerConfig{cfg2, cfg3} {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			s, err := bus.Start(ctx, cfg)
			if err == nil {
				t.Cleanup(func() { bustest.Stop(t, s) }) // before the test can end
			}
			joined <- err
		}()
	}
	select {
	case err := <-joined:
		t.Fatalf("joined a cluster that is not there: %v", err)
	case <-time.After(5 * time.Second): // several elections' time
	}
	c.Config.Founding, c.Config.RouteAddr = false, m1Route
	m1 = c.Start(t)
	for range 2 {
		if err := <-joined; err != nil {
			t.Fatal(err)
		}
	}
	if got := last(t, m1, "task.a"); got != "1" {
		t.Errorf("task.a is %q, want 1", got)
	}
}

func TestAManagerThatLostTheOthersIsRescued(t *testing.T) {
	c := bustest.New(t)
	m1 := c.Start(t)
	m2 := join(t, c.Joiner(t, "m2", m1.RouteAddr()))
	replicate(t, m1, 2)
	m3 := join(t, c.Joiner(t, "m3", m1.RouteAddr(), m2.RouteAddr()))
	replicate(t, m1, 3)
	var seq uint64
	for i := range 100 {
		ack, err := state(t, m2).Publish(t.Context(), bus.StateSubject(fmt.Sprintf("task.t%d", i)), []byte(fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		seq = ack.Sequence
	}
	bustest.Stop(t, m2)
	bustest.Stop(t, m3)
	bustest.Stop(t, m1)
	c.Config.Founding, c.Config.Rescue = false, true
	began := time.Now()
	m1 = c.Start(t)
	t.Logf("rescued in %s", time.Since(began))
	for i := range 100 {
		if got := last(t, m1, fmt.Sprintf("task.t%d", i)); got != fmt.Sprint(i) {
			t.Fatalf("task.t%d is %q", i, got)
		}
	}
	ack, err := state(t, m1).Publish(t.Context(), bus.StateSubject("task.more"), []byte("1"))
	if err != nil || ack.Sequence <= seq {
		t.Errorf("the first write after: %+v, %v; want a sequence above %d", ack, err, seq)
	}
	// It can grow again, and restart.
	c.Config.Rescue = false
	join(t, c.Joiner(t, "m4", m1.RouteAddr()))
	replicate(t, m1, 2)
}

func TestAServerThatIsNoManagerGetsNoRoute(t *testing.T) {
	c := bustest.New(t)
	m1 := c.Start(t)
	m1.AdmitRoutes([]string{"m1"})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if s, err := bus.Start(ctx, c.Joiner(t, "m2", m1.RouteAddr())); !errors.Is(err, context.DeadlineExceeded) {
		if s != nil {
			bustest.Stop(t, s)
		}
		t.Fatalf("joined: %v", err)
	}
	m1.AdmitRoutes([]string{"m1", "m2"})
	join(t, c.Joiner(t, "m2", m1.RouteAddr()))
}

func TestManagersHearOfEachOther(t *testing.T) {
	c := bustest.New(t)
	m1 := c.Start(t)
	m2 := join(t, c.Joiner(t, "m2", m1.RouteAddr()))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	p1, p2 := m1.Peers(), m2.Peers()
	go func() { ended <- p1.Run(ctx) }()
	ctx2, leave := context.WithCancel(ctx)
	go func() { ended <- p2.Run(ctx2) }()
	t.Cleanup(func() { cancel(); <-ended; <-ended })
	p1.Leads(7)
	p2.Leads(9) // m1 was paused and does not know yet that it leads no more
	is := func(p *bus.Peers, node string, want bus.Standing) {
		t.Helper()
		soon(t, func(context.Context) error {
			if got := p.Of(node); got != want {
				return fmt.Errorf("%s is %+v, want %+v", node, got, want)
			}
			return nil
		})
	}
	is(p1, "m2", bus.Standing{Reachable: true, Leader: true})
	is(p1, "m1", bus.Standing{Reachable: true})
	is(p2, "m1", bus.Standing{Reachable: true})
	leave()
	is(p1, "m2", bus.Standing{})
}

// soon asks until something is so.
func soon(t *testing.T, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal(err)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
