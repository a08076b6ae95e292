package worker

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"orch/internal/bus"
)

const (
	// askLimit bounds one request to the managers.
	askLimit = 5 * time.Second
	// askPause and askPauseMax are the first and the longest wait before the managers are asked again.
	askPause    = 50 * time.Millisecond
	askPauseMax = time.Second
	// beatLimit is how long a heartbeat's answer may take. It costs the leader next to nothing, so a manager that
	// does not pass it on by then is dead or cut off, and the next is tried before the node counts as lost.
	beatLimit = 1500 * time.Millisecond
	// leaderless is how long nobody may lead, as this manager sees it, before another is asked: longer than an election.
	leaderless = 3 * time.Second
	// heartbeatDefault holds until the managers name another.
	heartbeatDefault = time.Second
)

// position is a place in the managers' sequence of assignments.
type position struct{ epoch, seq uint64 }

// link keeps the session with the managers: it asks for the full set, puts increments in order,
// and asks again when one is missing. It owns the sequence, and nothing else.
type link struct {
	Config
	log      *slog.Logger
	describe func(context.Context) (bus.Session, error)
	deliver  func(context.Context, bus.Assignments)

	applied atomic.Pointer[position] // the last that is in force
	kick    chan struct{}            // applied has moved: say so now
	again   chan struct{}            // the node's description may have changed
	leads   chan uint64              // the epoch of a manager that has begun to lead
	self    atomic.Pointer[bus.Session]

	// heard is when a manager last answered, patience how long the next request for a session waits, and epoch that of the
	// last session; they belong to run.
	heard    time.Time
	patience time.Duration
	epoch    uint64
}

func newLink(cfg Config, describe func(context.Context) (bus.Session, error), deliver func(context.Context, bus.Assignments)) *link {
	l := &link{
		Config: cfg, log: cfg.Log, describe: describe, deliver: deliver,
		kick: make(chan struct{}, 1), again: make(chan struct{}, 1), leads: make(chan uint64, 1), patience: beatLimit,
	}
	l.applied.Store(&position{})
	l.self.Store(&bus.Session{})
	return l
}

// node is the node's description as it was last told to the managers.
func (l *link) node() swarm.NodeDescription { return l.self.Load().Description }

// redescribe has the managers told again what the node is like, if it changed.
func (l *link) redescribe() { signal(l.again) }

// confirm tells the managers what is in force.
func (l *link) confirm(p position) {
	l.applied.Store(&p)
	signal(l.kick)
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// run keeps a session until the context ends.
func (l *link) run(ctx context.Context) error {
	increments := make(chan bus.Assignments, inboxDepth)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.listen(ctx, increments) })
	g.Go(func() error {
		pause, said := askPause, false
		for ctx.Err() == nil {
			err := l.session(ctx, increments)
			if err == nil {
				pause, said = askPause, false
				continue
			}
			if errors.Is(err, errNewLeader) {
				pause = askPause
				continue
			}
			if !said && ctx.Err() == nil {
				l.log.Warn("no session with the managers; tasks run on", "err", err)
			}
			said = true
			select {
			case <-time.After(pause):
			case <-l.Managers.Reconnected():
			case <-l.leads:
				pause = 0
			case <-ctx.Done():
			}
			pause = min(max(2*pause, askPause), askPauseMax)
		}
		return nil
	})
	return g.Wait()
}

func (l *link) listen(ctx context.Context, to chan<- bus.Assignments) error {
	for {
		m, err := l.Managers.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if m.Seq == 0 {
			l.announced(m.Epoch)
			continue
		}
		select {
		case to <- m:
		case <-ctx.Done():
			return nil
		}
	}
}

// errNewLeader says that another manager leads now: ask again, at once.
var errNewLeader = errors.New("another manager leads")

// announced notes that a manager has begun to lead; listen is the only one to say so.
func (l *link) announced(epoch uint64) {
	select {
	case <-l.leads:
	default:
	}
	l.leads <- epoch
}

// ask bounds a request, and ends it when another manager begins to lead: the one that was asked may be gone, and
// will not answer.
func (l *link) ask(ctx context.Context, limit time.Duration, request func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- request(ctx) }()
	for {
		select {
		case err := <-done:
			return err
		case epoch := <-l.leads:
			if epoch > l.epoch {
				cancel()
				<-done
				return errNewLeader
			}
		}
	}
}

// session asks for the full set and follows it until it must be asked for again; an error says that it could not be.
func (l *link) session(ctx context.Context, increments <-chan bus.Assignments) error {
	s, err := l.describeNode(ctx)
	if err != nil {
		return err
	}
	for len(increments) > 0 { // of an earlier session
		<-increments
	}
	var full bus.Assignments
	err = l.ask(ctx, l.patience, func(ctx context.Context) (err error) { full, err = l.Managers.Session(ctx, s); return err })
	// A leader that hangs is found out soon; one that has much to write gets more time at each try.
	l.patience = min(2*l.patience, askLimit)
	if err != nil {
		l.unanswered(ctx, err)
		return err
	}
	l.heard, l.patience, l.epoch = time.Now(), beatLimit, full.Epoch
	l.deliver(ctx, full)
	l.follow(ctx, full, increments)
	return nil
}

func (l *link) describeNode(ctx context.Context) (bus.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	s, err := l.describe(ctx)
	if err == nil {
		l.self.Store(&s)
	}
	return s, err
}

// follow hands on increments, and beats, until one is missing or the managers know no session.
func (l *link) follow(ctx context.Context, full bus.Assignments, increments <-chan bus.Assignments) {
	at := position{full.Epoch, full.Seq}
	period := full.Heartbeat
	if period <= 0 {
		period = heartbeatDefault
	}
	beat := time.NewTicker(period)
	defer beat.Stop()
	behind := uint64(0) // the last number that a beat has heard of and that has not come
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-increments:
			switch {
			case m.Epoch < at.epoch || m.Epoch == at.epoch && m.Seq <= at.seq:
				continue // of an earlier session
			case m.Epoch != at.epoch || m.Seq != at.seq+1:
				return
			}
			at.seq = m.Seq
			l.deliver(ctx, m)
			if m.Heartbeat > 0 && m.Heartbeat != period {
				period = m.Heartbeat
				beat.Reset(period)
			}
		case <-l.Managers.Reconnected():
			return
		case epoch := <-l.leads:
			if epoch > at.epoch {
				return
			}
		case <-l.again:
			if l.changed(ctx) {
				return
			}
		case <-l.kick:
			if !l.beat(ctx, at, &behind) {
				return
			}
		case <-beat.C:
			if !l.beat(ctx, at, &behind) {
				return
			}
		}
	}
}

// beat says that the node is alive, and whether the session still stands.
func (l *link) beat(ctx context.Context, at position, behind *uint64) bool {
	b := bus.Beat{Node: l.NodeID, Epoch: at.epoch}
	if p := l.applied.Load(); p.epoch == at.epoch {
		b.Applied = p.seq
	}
	var reply bus.Reply
	err := l.ask(ctx, beatLimit, func(ctx context.Context) (err error) { reply, err = l.Managers.Beat(ctx, b); return err })
	if err == nil {
		l.heard = time.Now()
	} else {
		l.unanswered(ctx, err)
	}
	switch {
	case errors.Is(err, bus.ErrNoManager):
		return true // nobody leads now; who does next will not know the session
	case err != nil:
		return false // refused, or not answered
	case reply.Epoch != at.epoch:
		return false
	case l.renewed():
		return false // the managers are to see the node's new certificate
	case *behind > at.seq:
		return false // heard of a beat ago, and still not here
	}
	*behind = reply.Seq
	if l.Stand != nil {
		l.Stand(reply.Standing)
	}
	return true
}

// renewed says whether the node has another certificate than the managers were told of. It is asked with each beat.
func (l *link) renewed() bool {
	return l.TLSInfo != nil && !reflect.DeepEqual(l.TLSInfo(), l.node().TLSInfo)
}

// unanswered turns to another manager if this one is silent, or has known of no leader for too long.
func (l *link) unanswered(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, bus.ErrNoManager) && time.Since(l.heard) > leaderless:
		l.heard = time.Now() // the next one gets its time, too
		l.Managers.Elsewhere()
	}
}

// changed says whether the node is not what the managers were told.
func (l *link) changed(ctx context.Context) bool {
	before := l.self.Load()
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	now, err := l.describe(ctx)
	return err == nil && !sameNode(*before, now)
}
