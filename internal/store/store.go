package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-memdb"
)

// maxTries bounds how often Update runs a transaction that keeps colliding
// with other writers.
const maxTries = 20

// Store is the state as this manager knows it.
type Store struct {
	log   Log
	db    *memdb.MemDB
	ready chan struct{}

	// write has room for one: this manager's transactions would only collide. Who waits for the turn of one that the
	// log keeps waiting ends with its context.
	write chan struct{}

	// mu guards what follows, all of it written by the follower alone but for
	// the registration of watches.
	mu      sync.Mutex
	seq     uint64
	moved   chan struct{} // closed and replaced when seq moves
	claims  map[string]uint64
	watches map[*Watch]struct{}
}

// New is a store on a log; it is empty until Run has caught up.
func New(log Log) *Store {
	return &Store{
		write: make(chan struct{}, 1), log: log, db: emptyDB(), ready: make(chan struct{}), moved: make(chan struct{}),
		claims: map[string]uint64{}, watches: map[*Watch]struct{}{},
	}
}

func emptyDB() *memdb.MemDB {
	db, err := memdb.NewMemDB(schema)
	if err != nil {
		panic(err) // a mistake in the schema
	}
	return db
}

// Run follows the log until the context ends. An error means that the view can
// no longer be kept true; the process should stop.
func (s *Store) Run(ctx context.Context) error {
	err := s.log.Follow(ctx, s.apply)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("follow the cluster state: %w", err)
}

// Ready is closed once everything that the log held at the start is in the view.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// View is the state now.
func (s *Store) View() *View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return newView(s.db, s.seq)
}

// Update runs fn on a transaction and commits what it changed, again from the
// start when another writer was faster; fn must be free of side effects. It
// returns once this store's view includes the writes. fn's own error is returned
// as it is and nothing is written.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	return s.UpdateFenced(ctx, 0, fn)
}

// UpdateFenced is Update for the leader's control loops: the commit fails with
// ErrFenced if epoch, the sequence of the log's EpochKey, is no longer the current one.
func (s *Store) UpdateFenced(ctx context.Context, epoch uint64, fn func(*Tx) error) error {
	select {
	case s.write <- struct{}{}:
		defer func() { <-s.write }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for try := 1; ; try++ {
		tx, claims, moved := s.begin()
		if err := fn(tx); err != nil {
			return err
		}
		ops, err := tx.ops(claims)
		if err != nil {
			return err
		}
		err = s.commit(ctx, epoch, ops)
		if !errors.Is(err, ErrConflict) || try == maxTries {
			return err
		}
		// The write that was faster is on its way to the view.
		select {
		case <-moved:
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Store) begin() (*Tx, map[string]uint64, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return newView(s.db, s.seq).NewTx(time.Now()), s.claims, s.moved
}

// commit writes ops, in several batches if there are too many for one. The
// order of Kinds makes it safe to stop between them: an object never refers to
// one that is written later.
func (s *Store) commit(ctx context.Context, epoch uint64, ops []Op) error {
	for len(ops) > 0 {
		n := min(len(ops), MaxBatch)
		seq, err := s.log.Commit(ctx, Batch{Ops: ops[:n], Epoch: epoch})
		if err != nil {
			return err
		}
		if err := s.wait(ctx, seq); err != nil {
			return err
		}
		ops = ops[n:]
	}
	return nil
}

// Reach returns once the view includes the write of a sequence.
func (s *Store) Reach(ctx context.Context, seq uint64) error { return s.wait(ctx, seq) }

// wait returns once the view has reached seq.
func (s *Store) wait(ctx context.Context, seq uint64) error {
	for {
		s.mu.Lock()
		reached, moved := s.seq >= seq, s.moved
		s.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// apply brings a delivery of the log into the view, whole.
func (s *Store) apply(entries []Entry, live bool) error {
	txn := s.db.Txn(true)
	defer txn.Abort()
	var changes []Change
	claims := map[string]uint64{}
	for _, e := range entries {
		if strings.HasPrefix(e.Key, claimPrefix) {
			claims[e.Key] = e.Seq
			continue
		}
		change, err := applyEntry(txn, e)
		if err != nil {
			return fmt.Errorf("read %s at sequence %d: %w", e.Key, e.Seq, err)
		}
		if change != (Change{}) {
			changes = append(changes, change)
		}
	}
	s.publish(txn, entries, claims, changes)
	if live {
		select {
		case <-s.ready:
		default:
			close(s.ready)
		}
	}
	return nil
}

func applyEntry(txn *memdb.Txn, e Entry) (Change, error) {
	name, id, _ := strings.Cut(e.Key, ".")
	kind := Kind(name)
	if schema.Tables[name] == nil {
		return Change{}, nil // leader, epoch: the lease's, not ours
	}
	c := Change{Kind: kind}
	if c.Old = get[Object](&View{txn: txn}, kind, id); c.Old == nil && e.Value == nil {
		return Change{}, nil
	}
	if e.Value == nil {
		return c, txn.Delete(name, c.Old)
	}
	var err error
	if c.New, err = decode(kind, e.Value, e.Seq); err != nil {
		return Change{}, err
	}
	return c, txn.Insert(name, c.New)
}

// publish makes the new state visible and wakes whoever waits for it.
func (s *Store) publish(txn *memdb.Txn, entries []Entry, claims map[string]uint64, changes []Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	txn.Commit()
	if len(entries) > 0 {
		s.seq = entries[len(entries)-1].Seq
	}
	s.mergeClaims(claims)
	close(s.moved)
	s.moved = make(chan struct{})
	for w := range s.watches {
		w.add(changes)
	}
}

// mergeClaims replaces the map that transactions under way still read.
func (s *Store) mergeClaims(claims map[string]uint64) {
	if len(claims) == 0 {
		return
	}
	for key, seq := range s.claims {
		if _, ok := claims[key]; !ok {
			claims[key] = seq
		}
	}
	s.claims = claims
}
