package store

import (
	"context"
	"errors"
)

var (
	// ErrConflict says that an object was written by somebody else since the
	// transaction read it. Update retries it; a caller never sees it unless the
	// state keeps moving.
	ErrConflict = errors.New("state changed underneath the transaction")
	// ErrFenced says that the writer's leadership is over. Nothing was written.
	ErrFenced = errors.New("no longer the leader")
	// ErrDiskFull goes with ErrUnavailable where that is the reason.
	ErrDiskFull = errors.New("the disk of the cluster state is full")
	// ErrUnavailable says that the log cannot take writes now: no leader, no
	// majority, or no answer in time. The write may or may not have happened.
	ErrUnavailable = errors.New("the cluster state cannot be written: too few managers are online")
)

// MaxBatch is the most operations that a Batch may hold: JetStream's limit on
// an atomic batch is 1,000 messages, less the fence.
const MaxBatch = 990

// Op is one write. Key is "<kind>.<id>" with an id that is one NATS token.
type Op struct {
	Key string
	// Value nil deletes.
	Value []byte
	// Expect is the sequence of the key's last write, its deletion included, and
	// 0 if there never was one. A log may forget deletions after a while: it then
	// takes the sequence of a forgotten one for what it is.
	Expect uint64
}

// Batch is written whole or not at all.
type Batch struct {
	Ops []Op
	// Epoch, when not zero, is the sequence that the key EpochKey must still have.
	Epoch uint64
}

// EpochKey is the key whose sequence fences the leader's writes.
const EpochKey = "epoch"

// Entry is one write as the log orders it.
type Entry struct {
	Key string
	// Value nil: the key was deleted.
	Value []byte
	Seq   uint64
}

// Log is a totally ordered, durable log of the last value of every key.
type Log interface {
	// Commit writes a batch and returns the sequence of its last entry. Errors
	// are ErrConflict, ErrFenced, ErrUnavailable (wrapped) or the context's.
	Commit(ctx context.Context, b Batch) (uint64, error)
	// Follow delivers the present value of every key and then, for ever,
	// every write in order; a batch is never torn across two deliveries. live is
	// false until everything that was there at the start has been delivered, and
	// a delivery with live true and no entries marks that point. It returns when the
	// context ends, deliver fails, or the log cannot be followed any further.
	Follow(ctx context.Context, deliver func(entries []Entry, live bool) error) error
}
