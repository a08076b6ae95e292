// Package storetest holds every store.Log to the same behaviour.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"orch/internal/store"
)

// Log runs the suite on logs that open makes; each call gives an empty log.
func Log(t *testing.T, open func(t *testing.T) store.Log) {
	t.Run("a batch is delivered whole and in order", func(t *testing.T) { whole(t, open(t)) })
	t.Run("a batch with one stale expectation writes nothing", func(t *testing.T) { stale(t, open(t)) })
	t.Run("a deleted key can be written again", func(t *testing.T) { again(t, open(t)) })
	t.Run("a follower that starts late sees the last values only once live", func(t *testing.T) { late(t, open(t)) })
	t.Run("a stale epoch is fenced", func(t *testing.T) { fenced(t, open(t)) })
	t.Run("the largest batch", func(t *testing.T) { largest(t, open(t)) })
}

func whole(t *testing.T, l store.Log) {
	f := follow(t, l)
	f.state(t)
	commit(t, l, store.Op{Key: "task.a", Value: []byte("1")}, store.Op{Key: "task.b", Value: []byte("2")}, store.Op{Key: "task.c", Value: []byte("3")})
	got := f.next(t)
	var keys []string
	for _, e := range got {
		keys = append(keys, e.Key+"="+string(e.Value))
	}
	if diff := cmp.Diff([]string{"task.a=1", "task.b=2", "task.c=3"}, keys); diff != "" {
		t.Errorf("delivery (-want +got):\n%s", diff)
	}
}

func stale(t *testing.T, l store.Log) {
	seq := commit(t, l, store.Op{Key: "task.a", Value: []byte("1")})
	commit(t, l, store.Op{Key: "task.a", Value: []byte("2"), Expect: seq})
	_, err := l.Commit(t.Context(), store.Batch{Ops: []store.Op{
		{Key: "task.new", Value: []byte("x")},
		{Key: "task.a", Value: []byte("3"), Expect: seq},
	}})
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("stale commit: %v, want ErrConflict", err)
	}
	f := follow(t, l)
	if diff := cmp.Diff(map[string]string{"task.a": "2"}, f.state(t)); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if _, err := l.Commit(t.Context(), store.Batch{Ops: []store.Op{{Key: "task.a", Value: []byte("9")}}}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("creating what exists: %v, want ErrConflict", err)
	}
}

func again(t *testing.T, l store.Log) {
	seq := commit(t, l, store.Op{Key: "claim.x", Value: []byte("1")})
	gone := commit(t, l, store.Op{Key: "claim.x", Expect: seq})
	f := follow(t, l)
	if diff := cmp.Diff(map[string]string{}, f.state(t)); diff != "" {
		t.Errorf("after the delete (-want +got):\n%s", diff)
	}
	commit(t, l, store.Op{Key: "claim.x", Value: []byte("2"), Expect: gone})
	if got := string(f.next(t)[0].Value); got != "2" {
		t.Errorf("written again: got %q", got)
	}
}

func late(t *testing.T, l store.Log) {
	seq := commit(t, l, store.Op{Key: "node.n", Value: []byte("old")})
	commit(t, l, store.Op{Key: "node.n", Value: []byte("new"), Expect: seq})
	f := follow(t, l)
	if diff := cmp.Diff(map[string]string{"node.n": "new"}, f.state(t)); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func fenced(t *testing.T, l store.Log) {
	epoch := commit(t, l, store.Op{Key: store.EpochKey, Value: []byte("me")})
	if _, err := l.Commit(t.Context(), store.Batch{Epoch: epoch, Ops: []store.Op{{Key: "task.a", Value: []byte("1")}}}); err != nil {
		t.Fatalf("the leader's write: %v", err)
	}
	commit(t, l, store.Op{Key: store.EpochKey, Value: []byte("other"), Expect: epoch})
	_, err := l.Commit(t.Context(), store.Batch{Epoch: epoch, Ops: []store.Op{{Key: "task.b", Value: []byte("2")}}})
	if !errors.Is(err, store.ErrFenced) {
		t.Fatalf("a deposed leader's write: %v, want ErrFenced", err)
	}
	if _, ok := follow(t, l).state(t)["task.b"]; ok {
		t.Error("a deposed leader's write is there")
	}
}

func largest(t *testing.T, l store.Log) {
	epoch := commit(t, l, store.Op{Key: store.EpochKey, Value: []byte("me")})
	f := follow(t, l)
	f.state(t)
	b := store.Batch{Epoch: epoch}
	for i := range store.MaxBatch {
		b.Ops = append(b.Ops, store.Op{Key: fmt.Sprintf("task.t%d", i), Value: make([]byte, 2000)})
	}
	if _, err := l.Commit(t.Context(), b); err != nil {
		t.Fatalf("commit %d operations: %v", len(b.Ops), err)
	}
	if got := len(f.next(t)); got != store.MaxBatch {
		t.Errorf("delivered %d entries at once, want %d", got, store.MaxBatch)
	}
}

func commit(t *testing.T, l store.Log, ops ...store.Op) uint64 {
	t.Helper()
	seq, err := l.Commit(t.Context(), store.Batch{Ops: ops})
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	return seq
}

type follower struct {
	before chan map[string]string
	live   chan []store.Entry
}

func follow(t *testing.T, l store.Log) *follower {
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{before: make(chan map[string]string, 1), live: make(chan []store.Entry, 100)}
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended })
	state, isLive := map[string]string{}, false
	go func() {
		defer close(ended)
		err := l.Follow(ctx, func(entries []store.Entry, live bool) error {
			if live && !isLive {
				isLive = true
				f.before <- state
			}
			if live && len(entries) > 0 {
				f.live <- entries
				return nil
			}
			for _, e := range entries {
				if e.Value == nil {
					delete(state, e.Key)
				} else {
					state[e.Key] = string(e.Value)
				}
			}
			return nil
		})
		if ctx.Err() == nil {
			t.Errorf("follow: %v", err)
		}
	}()
	return f
}

// state is what was there when the follower started.
func (f *follower) state(t *testing.T) map[string]string {
	t.Helper()
	select {
	case s := <-f.before:
		return s
	case <-time.After(10 * time.Second):
		t.Fatal("the follower never caught up")
		return nil
	}
}

func (f *follower) next(t *testing.T) []store.Entry {
	t.Helper()
	select {
	case e := <-f.live:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no delivery")
		return nil
	}
}
