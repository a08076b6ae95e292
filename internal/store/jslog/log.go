// Package jslog is the replicated log of the state over JetStream: one stream
// with one message per key, whose sequence is the order of all writes.
//
// It owns the forms in which batches, deletions, the fence and the lease of the leader stand in the
// stream, and the meaning of the server's errors. It never keeps state: what it
// returns comes from the stream, and it decides nothing about what is written.
//
// A commit of one key is a plain publish that expects the key's last sequence; a
// larger one, or one with a fence, is an atomic batch. A follower reads an ordered consumer and puts batches
// together again by the headers that the server keeps on their messages.
package jslog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"orch/internal/bus"
	"orch/internal/store"
)

const (
	// LeaseKey says who leads. It and fenceKey are not part of what followers see.
	LeaseKey = "leader"
	// fenceKey is written first in every fenced batch: a message can carry only one
	// expectation, and this one's is that of the epoch.
	fenceKey = "fence"

	// commitTimeout covers an election among the managers and then some.
	commitTimeout = 6 * time.Second
	// tryTimeout is how long one try of anything waits for its answer: a manager that was lost with the
	// question does not answer it, and the next to lead may be there long before commitTimeout.
	tryTimeout = time.Second
	// retryEvery is the pause before a write is tried again that was refused
	// without having been looked at.
	retryEvery = 5 * time.Millisecond
	// noLeaderEvery is the same while there is no leader to look at it.
	noLeaderEvery = 50 * time.Millisecond
	// forgetAfter is when the trace of a deleted key leaves the stream. A follower that
	// is further behind than that starts from nothing anyway.
	forgetAfter = 24 * time.Hour

	batchID     = "Nats-Batch-Id"
	batchSeq    = "Nats-Batch-Sequence"
	batchCommit = "Nats-Batch-Commit"
	// operation marks a deletion, as in NATS' key-value stores, so that its tools
	// show one.
	operation = "KV-Operation"
	deletion  = "DEL"
)

// Error codes of the server.
const (
	codeWrongSequence   = 10071 // an expectation does not hold
	codeInFlight        = 10164 // another write to the key is under way: says nothing about the expectation
	codeIncompleteBatch = 10176 // the leader changed within the batch
)

// Log implements store.Log.
type Log struct {
	// Why says what is known to keep this manager from writing, nil if nothing is. It is asked after a write has failed.
	Why func() error

	conn      *nats.Conn
	js        jetstream.JetStream
	stream    jetstream.Stream
	elections *elections
	// fenced holds a token while a fenced batch is under way: the server refuses a second one
	// that expects the same key.
	fenced chan struct{}
}

var _ store.Log = (*Log)(nil)

// Open is the log on a manager's connection to the state, whose stream exists.
func Open(ctx context.Context, conn *nats.Conn) (*Log, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return nil, fmt.Errorf("open the cluster state: %w", err)
	}
	stream, err := js.Stream(ctx, bus.StateStream)
	if err != nil {
		return nil, fmt.Errorf("open the cluster state: %w", err)
	}
	elections, err := hearElections(conn)
	if err != nil {
		return nil, err
	}
	return &Log{conn: conn, js: js, stream: stream, elections: elections, fenced: make(chan struct{}, 1)}, nil
}

// Commit implements store.Log. While the managers elect a leader it waits.
func (l *Log) Commit(ctx context.Context, b store.Batch) (uint64, error) {
	if len(b.Ops) == 0 || len(b.Ops) > store.MaxBatch {
		return 0, fmt.Errorf("commit a batch of %d operations: the limit is %d", len(b.Ops), store.MaxBatch)
	}
	if b.Epoch != 0 {
		select {
		case l.fenced <- struct{}{}:
			defer func() { <-l.fenced }()
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	within, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	seq, err := l.commit(within, b)
	if err != nil && ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if errors.Is(err, store.ErrUnavailable) && l.Why != nil {
		if why := l.Why(); why != nil {
			err = fmt.Errorf("%w%.0w", why, err) // its words would be of managers that are gone
		}
	}
	return seq, err
}

func (l *Log) commit(ctx context.Context, b store.Batch) (uint64, error) {
	unsure := false // whether an earlier try has been written
	for {
		seq, err := l.publish(ctx, b)
		pause := time.Duration(0)
		var refused *jetstream.APIError
		switch {
		case err == nil:
			return seq, nil
		case errors.Is(err, nats.ErrNoResponders):
			pause = noLeaderEvery // nobody has seen the commit
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			unsure = true
		case !errors.As(err, &refused):
			return 0, unavailable(err)
		case refused.ErrorCode == codeWrongSequence && unsure:
			return l.written(ctx, b)
		case refused.ErrorCode == codeWrongSequence:
			forgotten, err := l.mismatch(ctx, &b, refused)
			if !forgotten {
				return 0, err
			}
		case refused.ErrorCode == codeInFlight, refused.ErrorCode == codeIncompleteBatch:
			pause = retryEvery
		default:
			return 0, unavailable(err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return 0, unavailable(err)
		}
	}
}

// written finds out whether a batch was written by a try whose answer was lost. A batch is written whole, so its last
// operation tells of all.
func (l *Log) written(ctx context.Context, b store.Batch) (uint64, error) {
	op := b.Ops[len(b.Ops)-1]
	now, err := l.last(ctx, op.Key)
	switch {
	case err != nil:
		return 0, unavailable(err)
	case now.seq > op.Expect && now.deleted == (op.Value == nil) && bytes.Equal(now.value, op.Value):
		return now.seq, nil
	case b.Epoch == 0:
		return 0, store.ErrConflict
	}
	if _, err := l.mismatch(ctx, &b, &jetstream.APIError{}); errors.Is(err, store.ErrFenced) {
		return 0, err
	}
	return 0, store.ErrConflict
}

func unavailable(err error) error { return fmt.Errorf("%w (%w)", store.ErrUnavailable, err) }

// mismatch finds out which expectation did not hold. One that was of a deleted key
// which the stream has forgotten since is corrected in b, for another try.
func (l *Log) mismatch(ctx context.Context, b *store.Batch, refused *jetstream.APIError) (forgotten bool, err error) {
	if b.Epoch != 0 {
		epoch, err := l.last(ctx, store.EpochKey)
		if err != nil {
			return false, unavailable(err)
		}
		if epoch.seq != b.Epoch {
			return false, store.ErrFenced
		}
	}
	if !strings.HasSuffix(refused.Description, ": 0") {
		return false, store.ErrConflict
	}
	ops := append([]store.Op(nil), b.Ops...)
	for i, op := range ops {
		if op.Expect == 0 || op.Key == store.EpochKey {
			continue
		}
		now, err := l.last(ctx, op.Key)
		if err != nil {
			return false, unavailable(err)
		}
		if now.seq == 0 {
			ops[i].Expect, forgotten = 0, true
		}
	}
	b.Ops = ops
	if !forgotten {
		return false, store.ErrConflict
	}
	return true, nil
}

// publish sends the batch once.
func (l *Log) publish(ctx context.Context, b store.Batch) (uint64, error) {
	msgs := make([]*nats.Msg, 0, len(b.Ops)+1)
	if b.Epoch != 0 {
		fence := message(fenceKey, []byte{}, 0)
		expect(fence, b.Epoch)
		fence.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, bus.StateSubject(store.EpochKey))
		msgs = append(msgs, fence)
	}
	for _, op := range b.Ops {
		m := message(op.Key, op.Value, forgetAfter)
		expect(m, op.Expect)
		msgs = append(msgs, m)
	}
	if len(msgs) > 1 {
		mark(msgs)
		for _, m := range msgs[:len(msgs)-1] {
			if err := l.conn.PublishMsg(m); err != nil {
				return 0, err
			}
		}
	}
	return l.request(ctx, msgs[len(msgs)-1])
}

// message writes a key; value nil deletes it and leaves a trace for a while, by
// which followers learn of it.
func message(key string, value []byte, trace time.Duration) *nats.Msg {
	m := nats.NewMsg(bus.StateSubject(key))
	m.Data = value
	if value == nil {
		m.Header.Set(operation, deletion)
		m.Header.Set(jetstream.MsgTTLHeader, trace.String())
	}
	return m
}

func expect(m *nats.Msg, seq uint64) {
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(seq, 10))
}

// mark makes one atomic batch of the messages.
func mark(msgs []*nats.Msg) {
	id := nuid.Next()
	for i, m := range msgs {
		m.Header.Set(batchID, id)
		m.Header.Set(batchSeq, strconv.Itoa(i+1))
	}
	msgs[len(msgs)-1].Header.Set(batchCommit, "1")
}

// request sends a message and reads the server's acknowledgement. An error that
// is a *jetstream.APIError means that nothing was written.
func (l *Log) request(ctx context.Context, m *nats.Msg) (uint64, error) {
	resp, err := bounded(ctx, l.elections, func(ctx context.Context) (*nats.Msg, error) { return l.conn.RequestMsgWithContext(ctx, m) })
	if err != nil {
		return 0, err
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Seq   uint64              `json:"seq"`
	}
	if err := json.Unmarshal(resp.Data, &ack); err != nil {
		return 0, fmt.Errorf("read the acknowledgement of a write: %w", err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	return ack.Seq, nil
}

// written is a key's last write; seq 0 means that there is none.
type written struct {
	seq     uint64
	value   []byte
	deleted bool
}

// Deleted says that the key was deleted, as far as the stream remembers deletions: for a day.
func (l *Log) Deleted(ctx context.Context, key string) (bool, error) {
	w, err := l.last(ctx, key)
	return w.deleted, err
}

// errLeaderless says that nobody can tell now what the stream holds.
var errLeaderless = errors.New("the cluster state has no leader at the moment")

// info is what the stream holds. While it has no leader any manager answers that with what its own copy holds, be it nothing: that
// is no word on the stream.
func (l *Log) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	info, err := l.stream.Info(ctx)
	if err == nil && leaderless(info) {
		return nil, errLeaderless
	}
	return info, err
}

func leaderless(info *jetstream.StreamInfo) bool {
	return info.Cluster != nil && info.Cluster.Leader == ""
}

// LastSeq is the sequence of the last write of all.
func (l *Log) LastSeq(ctx context.Context) (uint64, error) {
	info, err := l.info(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the cluster state: %w", err)
	}
	return info.State.LastSeq, nil
}

// Readable reads the whole stream, and fails with bus.ErrDamaged if that gives less than the stream says it holds: a
// follower would wait for the rest for ever.
func (l *Log) Readable(ctx context.Context) error {
	info, err := l.info(ctx)
	if err != nil {
		return fmt.Errorf("read the cluster state: %w", err)
	}
	count, from := uint64(0), info.State.FirstSeq
	for {
		m, err := l.stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(bus.AllState()))
		var refused *jetstream.APIError
		switch {
		case err == nil:
			count, from = count+1, m.Sequence+1
			continue
		case !errors.As(err, &refused):
			return fmt.Errorf("read the cluster state: %w", err) // nobody to ask now: no reason for an alarm
		}
		break
	}
	// While managers lead elsewhere, writes replace others; what was gone before it was read was counted twice or not at all.
	if after, err := l.info(ctx); err != nil || after.State.LastSeq != info.State.LastSeq {
		return err
	}
	if count < info.State.Msgs {
		return fmt.Errorf("%w: only %d of its %d writes can be read", bus.ErrDamaged, count, info.State.Msgs)
	}
	return nil
}

// Remembered is how long the stream knows of a deletion, with a margin for clocks.
const Remembered = forgetAfter - time.Hour

func (l *Log) last(ctx context.Context, key string) (written, error) {
	m, err := bounded(ctx, l.elections, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return l.stream.GetLastMsgForSubject(ctx, bus.StateSubject(key))
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return written{}, nil
	}
	if err != nil {
		return written{}, fmt.Errorf("read %s: %w", key, err)
	}
	return written{seq: m.Sequence, value: m.Data, deleted: m.Header.Get(operation) == deletion}, nil
}
