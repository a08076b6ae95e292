package jslog

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"orch/internal/bus"
	"orch/internal/bus/bustest"
	"orch/internal/store"
	"orch/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB) (*Log, *bus.Server) {
	t.Helper()
	s := bustest.New(t).Start(t)
	return openOn(t, s), s
}

func openOn(t testing.TB, s *bus.Server) *Log {
	t.Helper()
	l, err := Open(context.Background(), s.State())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLog(t *testing.T) {
	storetest.Log(t, func(t *testing.T) store.Log {
		l, _ := open(t)
		return l
	})
}

func TestServerKeepsBatchHeaders(t *testing.T) {
	l, _ := open(t)
	if _, err := l.Commit(t.Context(), store.Batch{Ops: []store.Op{
		{Key: "task.a", Value: []byte("1")}, {Key: "task.b", Value: []byte("2")},
	}}); err != nil {
		t.Fatal(err)
	}
	for key, last := range map[string]bool{"task.a": false, "task.b": true} {
		m, err := l.stream.GetLastMsgForSubject(t.Context(), bus.StateSubject(key))
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get(batchID) == "" || (m.Header.Get(batchCommit) != "") != last {
			t.Errorf("%s: headers %v; followers need them to keep batches whole", key, m.Header)
		}
	}
}

func TestForgottenDeletionCanBeWrittenOver(t *testing.T) {
	l, _ := open(t)
	seq, err := l.Commit(t.Context(), store.Batch{Ops: []store.Op{{Key: "claim.x", Value: []byte("1")}}})
	if err != nil {
		t.Fatal(err)
	}
	// What the stream does by itself a day after a deletion.
	if err := l.stream.Purge(t.Context(), jetstream.WithPurgeSubject(bus.StateSubject("claim.x"))); err != nil {
		t.Fatal(err)
	}
	again := store.Batch{Ops: []store.Op{{Key: "claim.x", Value: []byte("2"), Expect: seq}, {Key: "task.t", Value: []byte("2")}}}
	if _, err := l.Commit(t.Context(), again); err != nil {
		t.Fatalf("commit over a forgotten key: %v", err)
	}
	if _, err := l.Commit(t.Context(), store.Batch{Ops: []store.Op{{Key: "claim.x", Value: []byte("3"), Expect: seq}}}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a stale expectation: %v, want ErrConflict", err)
	}
}

func TestNoServerIsUnavailable(t *testing.T) {
	l, s := open(t)
	bustest.Stop(t, s)
	if _, err := l.Commit(t.Context(), store.Batch{Ops: []store.Op{{Key: "task.a", Value: []byte("1")}}}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("commit without a server: %v, want ErrUnavailable", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Commit(ctx, store.Batch{Ops: []store.Op{{Key: "task.a", Value: []byte("1")}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("commit with an ended context: %v", err)
	}
}

// Writers and a follower at once: each delivery must be a state that was.
func TestDeliveriesAreNeverTorn(t *testing.T) {
	l, _ := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	const rounds = 300
	write := make(chan error, 1)
	go func() {
		var a, b uint64
		for i := range rounds {
			seq, err := l.Commit(ctx, store.Batch{Ops: []store.Op{
				{Key: "task.a", Value: fmt.Append(nil, i), Expect: a}, {Key: "task.b", Value: fmt.Append(nil, i), Expect: b},
			}})
			if err != nil {
				write <- err
				return
			}
			a, b = seq-1, seq
		}
		write <- nil
	}()
	done := errors.New("seen all")
	state := map[string]string{}
	err := l.Follow(ctx, func(entries []store.Entry, live bool) error {
		for _, e := range entries {
			state[e.Key] = string(e.Value)
		}
		if live && state["task.a"] != state["task.b"] {
			return fmt.Errorf("torn: %v", state)
		}
		if live && state["task.b"] == fmt.Sprint(rounds-1) {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Errorf("follow: %v", err)
	}
	if err := <-write; err != nil {
		t.Errorf("write: %v", err)
	}
}

func BenchmarkCommitAndFollow(b *testing.B) {
	for _, size := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("objects=%d", size), func(b *testing.B) { commitAndFollow(b, size) })
	}
}

func commitAndFollow(b *testing.B, size int) {
	l, _ := open(b)
	ctx, cancel := context.WithCancel(context.Background())
	seen := make(chan uint64, 1000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.Follow(ctx, func(entries []store.Entry, live bool) error {
			if len(entries) > 0 {
				seen <- entries[len(entries)-1].Seq
			}
			return nil
		})
	}()
	value := make([]byte, 2000)
	for i := range b.N {
		ops := make([]store.Op, size)
		for j := range ops {
			ops[j] = store.Op{Key: fmt.Sprintf("task.%d-%d", i, j), Value: value}
		}
		seq, err := l.Commit(ctx, store.Batch{Ops: ops})
		if err != nil {
			b.Fatal(err)
		}
		for <-seen < seq {
		}
	}
	cancel()
	<-ended
}
