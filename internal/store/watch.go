package store

import "sync"

// Change is one object's change: Old is nil for a new object, New for a removed one.
type Change struct {
	Kind Kind
	Old  Object
	New  Object
}

// ID is the object's.
func (c Change) ID() string {
	if c.New != nil {
		return c.New.id()
	}
	return c.Old.id()
}

// maxPending bounds what a watch keeps for a reader that does not read.
const maxPending = 1 << 16

// Watch collects changes for one reader, which is never waited for.
type Watch struct {
	store *Store
	kinds map[Kind]bool
	wake  chan struct{}

	// mu guards what follows.
	mu      sync.Mutex
	pending []Change
	lost    bool
}

// Watch collects the changes of some kinds (none: all) after the returned view.
func (s *Store) Watch(kinds ...Kind) (*Watch, *View) {
	w := &Watch{store: s, kinds: map[Kind]bool{}, wake: make(chan struct{}, 1)}
	for _, k := range kinds {
		w.kinds[k] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches[w] = struct{}{}
	return w, newView(s.db, s.seq)
}

// C has a value when there is something to Take.
func (w *Watch) C() <-chan struct{} { return w.wake }

// Take returns the changes since the last call, in order. lost says that the
// reader was too slow and changes are missing: it must start from a view again.
func (w *Watch) Take() (changes []Change, lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	changes, lost = w.pending, w.lost
	w.pending, w.lost = nil, false
	return changes, lost
}

// Close ends the watch.
func (w *Watch) Close() {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	delete(w.store.watches, w)
}

func (w *Watch) add(changes []Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := len(w.pending)
	for _, c := range changes {
		if len(w.kinds) == 0 || w.kinds[c.Kind] {
			w.pending = append(w.pending, c)
		}
	}
	if len(w.pending) > maxPending {
		w.pending, w.lost = nil, true
	}
	if len(w.pending) == before && !w.lost {
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
