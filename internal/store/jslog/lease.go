package jslog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"orch/internal/bus"
	"orch/internal/store"
)

const (
	// leaseTTL is how long a leader that is not heard of stays the leader. Below it
	// lies the election of the stream's own leader, so less would gain nothing.
	leaseTTL = 2 * time.Second
	// renewEvery leaves two more tries to a renewal that fails.
	renewEvery = leaseTTL / 3
	// lookEvery is how often a candidate looks whether the lease has run out.
	lookEvery = 100 * time.Millisecond
	// hurryFor is how long a candidate looks often, once the leader has said that it
	// resigns: its resignation is heard before it is in the stream.
	hurryFor   = 100 * time.Millisecond
	hurryEvery = 2 * time.Millisecond
)

// Leadership is this node's leading, until Lost is done or Resign is called,
// which it must be, also after Lost.
type Leadership struct {
	// Epoch fences the leader's batches (store.Batch).
	Epoch uint64
	// Missed is the node that led before, if its lease ran out: "" if it resigned, or is this one.
	Missed string
	lost   context.Context
	end    context.CancelFunc
	log    *Log
	node   string
	// ended is closed when the renewals have.
	ended chan struct{}
	// seq is the lease's last write, as the renewals know it.
	seq uint64
}

// Lost is done once this node does not lead any more.
func (l *Leadership) Lost() context.Context { return l.lost }

// Campaign waits until this node leads. A lease that names the node itself is of
// a process before this one, killed, and is taken over at once.
func (l *Log) Campaign(ctx context.Context, node string) (*Leadership, error) {
	// Every write of the lease is also an ordinary message that candidates hear at once.
	heard, err := l.conn.SubscribeSync(bus.StateSubject(LeaseKey))
	if err != nil {
		return nil, fmt.Errorf("campaign for the leadership: %w", err)
	}
	defer heard.Unsubscribe()
	var hurry time.Time
	for {
		lead, err := l.take(ctx, node)
		if lead != nil || ctx.Err() != nil {
			return lead, ctx.Err()
		}
		wait := lookEvery
		if err == nil && time.Now().Before(hurry) {
			wait = hurryEvery
		}
		within, cancel := context.WithTimeout(ctx, wait)
		m, err := heard.NextMsgWithContext(within)
		cancel()
		switch {
		case err == nil && m.Header.Get(operation) == deletion:
			hurry = time.Now().Add(hurryFor)
		case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrBadSubscription):
			return nil, fmt.Errorf("campaign for the leadership: %w", err)
		}
	}
}

// take takes the lease if it is free; nil means that it is not, or not known to be.
func (l *Log) take(ctx context.Context, node string) (*Leadership, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseTTL)
	defer cancel()
	held, err := l.last(ctx, LeaseKey)
	if err != nil {
		return nil, err
	}
	if held.seq != 0 && !held.deleted && string(held.value) != node {
		return nil, nil
	}
	asked := time.Now()
	seq, err := l.lease(ctx, node, held.seq)
	if err != nil {
		return nil, err
	}
	epoch, err := l.last(ctx, store.EpochKey)
	if err != nil {
		return nil, err
	}
	lead := &Leadership{log: l, node: node, seq: seq, ended: make(chan struct{})}
	lead.Epoch, err = l.Commit(ctx, store.Batch{Ops: []store.Op{{Key: store.EpochKey, Value: []byte(node), Expect: epoch.seq}}})
	if err != nil {
		return nil, err // the lease runs out, or is taken over by the next try
	}
	if held.seq == 0 && string(epoch.value) != node {
		lead.Missed = string(epoch.value)
	}
	lead.lost, lead.end = context.WithCancel(context.Background())
	go lead.renew(asked)
	return lead, nil
}

// lease writes the lease on top of its write seq.
func (l *Log) lease(ctx context.Context, node string, seq uint64) (uint64, error) {
	m := message(LeaseKey, []byte(node), 0)
	m.Header.Set(jetstream.MsgTTLHeader, leaseTTL.String())
	expect(m, seq)
	return l.request(ctx, m)
}

// renew keeps the lease until that fails for as long as the lease lasts.
func (l *Leadership) renew(asked time.Time) {
	defer close(l.ended)
	defer l.end()
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.lost.Done():
			return
		}
		// The lease runs from when it was asked for, not from when the answer came.
		now, deadline := time.Now(), asked.Add(leaseTTL)
		ctx, cancel := context.WithDeadline(l.lost, deadline)
		seq, err := l.log.lease(ctx, l.node, l.seq)
		cancel()
		var refused *jetstream.APIError
		switch {
		case err == nil:
			l.seq, asked = seq, now
		case errors.As(err, &refused) && refused.ErrorCode == codeWrongSequence:
			return // somebody else's, or run out
		case !time.Now().Before(deadline):
			return
		}
	}
}

// Resign ends the leadership so that another manager can follow at once.
func (l *Leadership) Resign(ctx context.Context) error {
	l.end()
	select {
	case <-l.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	// Read, because the answer to the last renewal may not have been waited for.
	held, err := l.log.last(ctx, LeaseKey)
	if err != nil {
		return fmt.Errorf("resign the leadership: %w", err)
	}
	if held.deleted || string(held.value) != l.node {
		return nil // lost already
	}
	m := message(LeaseKey, nil, forgetAfter)
	expect(m, held.seq)
	var refused *jetstream.APIError
	if _, err := l.log.request(ctx, m); err != nil && !errors.As(err, &refused) {
		return fmt.Errorf("resign the leadership: %w", err)
	}
	return nil
}
