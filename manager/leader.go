package manager

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"orch/internal/store"
	"orch/manager/allocator"
	"orch/manager/orchestrator"
	"orch/manager/scheduler"
)

const (
	// passTimeout bounds one transaction of the leader's loop.
	passTimeout = 10 * time.Second
	// retryAfter is how long the loop rests when the state cannot be written.
	retryAfter = 200 * time.Millisecond
)

// leader is the loop that runs on one manager at a time. It is level-triggered:
// whatever changed, it looks at the services concerned, decides in one
// transaction, and commits that fenced by its epoch. What it keeps between two
// passes can be lost: the next leader starts with every service.
type leader struct {
	store *store.Store
	epoch uint64
	log   *slog.Logger
	asks  chan ask
}

// ask is something to do in the next transaction.
type ask struct {
	fn   func(*store.Tx)
	done chan error
}

func newLeader(s *store.Store, epoch uint64, log *slog.Logger) *leader {
	return &leader{store: s, epoch: epoch, log: log, asks: make(chan ask)}
}

// Do runs fn, which must have no side effects, in the loop's next transaction
// and returns once that is committed.
func (l *leader) Do(ctx context.Context, fn func(*store.Tx)) error {
	a := ask{fn: fn, done: make(chan error, 1)}
	select {
	case l.asks <- a:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-a.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run decides until the context ends, nil, or the leadership is over, ErrFenced.
func (l *leader) Run(ctx context.Context) error {
	watch, view := l.store.Watch()
	defer watch.Close()
	work := newAgenda(view)
	for {
		asks, err := l.wait(ctx, watch, work)
		if err != nil {
			return nil
		}
		if changes, lost := watch.Take(); lost {
			work = newAgenda(l.store.View())
		} else {
			work.add(changes, orchestrator.Affected(l.store.View(), changes))
		}
		err = l.pass(ctx, asks, work)
		for _, a := range asks {
			a.done <- err
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, store.ErrFenced):
			return err
		default:
			l.log.Warn("the cluster state cannot be written now; trying again", "error", err)
			work.rest(retryAfter)
		}
	}
}

// wait returns when there is something to do, with all that was asked by then.
func (l *leader) wait(ctx context.Context, watch *store.Watch, work *agenda) (asks []ask, err error) {
	timer := time.NewTimer(work.until())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case a := <-l.asks:
		asks = append(asks, a)
	case <-watch.C():
	case <-timer.C:
	}
	for {
		select {
		case a := <-l.asks:
			asks = append(asks, a)
		default:
			return asks, nil
		}
	}
}

// pass is one transaction: what was asked, then what follows from it.
func (l *leader) pass(ctx context.Context, asks []ask, work *agenda) error {
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	if !work.due() && len(asks) == 0 {
		return nil
	}
	var again map[string]time.Time
	err := l.store.UpdateFenced(ctx, l.epoch, func(tx *store.Tx) error {
		for _, a := range asks {
			a.fn(tx)
		}
		allocator.DropAttachments(tx, append(slices.Clone(work.changes), tx.Changes()...))
		scheduler.Enforce(tx, append(slices.Clone(work.changes), tx.Changes()...))
		concerned := append(slices.Collect(maps.Keys(work.now)), orchestrator.Affected(&tx.View, tx.Changes())...)
		slices.Sort(concerned)
		concerned = slices.Compact(concerned)
		again = orchestrator.Reconcile(tx, concerned)
		allocator.Allocate(tx, concerned)
		scheduler.Schedule(tx)
		allocator.AttachNodes(tx)
		finishRotation(tx)
		return nil
	})
	if err == nil {
		work.finished(again)
	}
	return err
}

// agenda is what to look at, and when.
type agenda struct {
	now     map[string]bool // services
	changes []store.Change  // of nodes and networks
	later   map[string]time.Time
	quiet   time.Time // nothing is due before
	fresh   bool      // no pass yet
}

// newAgenda has every service, what is left of removed ones, and every node.
func newAgenda(v *store.View) *agenda {
	a := &agenda{now: map[string]bool{}, later: map[string]time.Time{}, fresh: true}
	for _, s := range v.Services(store.All()) {
		a.now[s.ID] = true
	}
	for _, t := range v.Tasks(store.All()) {
		a.now[t.ServiceID] = true
	}
	for _, n := range v.Nodes(store.All()) {
		a.changes = append(a.changes, store.Change{Kind: store.KindNode, New: n})
	}
	return a
}

// add puts services on the agenda, and changes that mean something to
// networks and nodes.
func (a *agenda) add(changes []store.Change, services []string) {
	for _, id := range services {
		a.now[id] = true
	}
	for _, c := range changes {
		if c.Kind == store.KindNode || c.Kind == store.KindNetwork || c.Kind == store.KindCluster {
			a.changes = append(a.changes, c)
		}
	}
}

func (a *agenda) rest(d time.Duration) { a.quiet = time.Now().Add(d) }

// until is how long nothing is due, an hour at most.
func (a *agenda) until() time.Duration {
	next := time.Now().Add(time.Hour)
	if a.pending() {
		next = time.Now()
	}
	for _, at := range a.later {
		if at.Before(next) {
			next = at
		}
	}
	if a.quiet.After(next) {
		next = a.quiet
	}
	return max(time.Until(next), 0)
}

func (a *agenda) pending() bool { return a.fresh || len(a.now)+len(a.changes) > 0 }

// due brings what has become due forward and says whether there is anything.
func (a *agenda) due() bool {
	if time.Now().Before(a.quiet) {
		return false
	}
	for id, at := range a.later {
		if !at.After(time.Now()) {
			a.now[id] = true
		}
	}
	return a.pending()
}

// finished takes everything off the agenda that a pass has seen to.
func (a *agenda) finished(again map[string]time.Time) {
	for id := range a.now {
		delete(a.later, id)
	}
	a.now, a.changes, a.fresh = map[string]bool{}, nil, false
	for id, at := range again {
		if at.IsZero() {
			delete(a.later, id)
		} else {
			a.later[id] = at
		}
	}
}
