package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"orch/internal/store"
)

// wire is one manager's connection to the log: it can be slow, and lose a commit or the answer to it.
type wire struct {
	*store.MemLog

	mu     sync.Mutex // guards what follows
	random *rand.Rand
	loss   float64
	delay  time.Duration // at most
}

var errLost = fmt.Errorf("%w (simulated)", store.ErrUnavailable)

// disturb makes the wire lose that share of commits, and take up to delay for each and for every delivery.
func (w *wire) disturb(loss float64, delay time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loss, w.delay = loss, delay
}

func (w *wire) lost() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.Float64() < w.loss
}

func (w *wire) wait() {
	w.mu.Lock()
	d := w.delay
	if d > 0 {
		d = time.Duration(w.random.Int64N(int64(d)))
	}
	w.mu.Unlock()
	if d > 0 {
		time.Sleep(d)
	}
}

// Commit is store.Log's. A lost one may have been written or not, as the caller is told.
func (w *wire) Commit(ctx context.Context, b store.Batch) (uint64, error) {
	w.wait()
	if w.lost() {
		return 0, errLost
	}
	seq, err := w.MemLog.Commit(ctx, b)
	w.wait()
	if err == nil && w.lost() {
		return 0, errLost
	}
	return seq, err
}

// Follow is store.Log's.
func (w *wire) Follow(ctx context.Context, deliver func([]store.Entry, bool) error) error {
	return w.MemLog.Follow(ctx, func(entries []store.Entry, live bool) error {
		w.wait()
		return deliver(entries, live)
	})
}

// tap is a log that tells of every batch that a store has taken in.
type tap struct {
	*store.MemLog
	taken func()
}

func (t tap) Follow(ctx context.Context, deliver func([]store.Entry, bool) error) error {
	return t.MemLog.Follow(ctx, func(entries []store.Entry, live bool) error {
		err := deliver(entries, live)
		t.taken()
		return err
	})
}

// Observe calls fn with the state before and after every single transaction from now on. fn runs on a goroutine of the cluster.
func (c *Cluster) Observe(fn func(before, after *store.View)) {
	var s *store.Store
	var before *store.View
	s = store.New(tap{c.log, func() {
		after := s.View()
		select {
		case <-s.Ready():
			if before != nil {
				fn(before, after)
			}
			before = after
		default: // what was there already
		}
	}})
	c.spawn(func() { _ = s.Run(c.ctx) })
	<-s.Ready()
}
