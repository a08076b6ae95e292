package store

import (
	"context"
	"sync"
)

// MemLog is a log in memory: for simulation and tests.
type MemLog struct {
	// mu guards what follows.
	mu      sync.Mutex
	entries []Entry           // the whole history
	last    map[string]uint64 // sequence by key, deletions included
	ends    []int             // where in entries each batch ends
	grown   chan struct{}     // closed and replaced when entries grow
}

// NewMemLog is an empty log.
func NewMemLog() *MemLog {
	return &MemLog{last: map[string]uint64{}, grown: make(chan struct{})}
}

// Commit implements Log.
func (l *MemLog) Commit(ctx context.Context, b Batch) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.Epoch != 0 && l.last[EpochKey] != b.Epoch {
		return 0, ErrFenced
	}
	for _, op := range b.Ops {
		if l.last[op.Key] != op.Expect {
			return 0, ErrConflict
		}
	}
	for _, op := range b.Ops {
		seq := uint64(len(l.entries) + 1)
		l.entries = append(l.entries, Entry{Key: op.Key, Value: op.Value, Seq: seq})
		l.last[op.Key] = seq
	}
	l.ends = append(l.ends, len(l.entries))
	close(l.grown)
	l.grown = make(chan struct{})
	return uint64(len(l.entries)), nil
}

// Follow implements Log.
func (l *MemLog) Follow(ctx context.Context, deliver func([]Entry, bool) error) error {
	next, live := 0, false
	for {
		l.mu.Lock()
		batches, grown := l.after(next), l.grown
		l.mu.Unlock()
		for _, b := range batches {
			if err := deliver(b, live); err != nil {
				return err
			}
			next += len(b)
		}
		if !live {
			live = true
			if err := deliver(nil, true); err != nil {
				return err
			}
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *MemLog) after(next int) (batches [][]Entry) {
	for _, end := range l.ends {
		if end > next {
			batches = append(batches, l.entries[next:end])
			next = end
		}
	}
	return batches
}
