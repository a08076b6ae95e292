package jslog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orch/internal/bus"
	"orch/internal/store"
)

const (
	// heartbeat is how often the server says that the consumer lives: after two
	// missed ones it is made anew. The client allows no less.
	heartbeat = 500 * time.Millisecond
	// forgetConsumer is when the server drops a consumer that nobody reads.
	forgetConsumer = 10 * time.Second
	// localTries is how many consumers are made to get one on this manager's own server: the cluster
	// places them at random on one of at most five.
	localTries = 12
	// moveEvery is the first pause before one on another server is replaced, and moveMax the longest: this server
	// may have no copy of the state yet, or not be among the five that have one.
	moveEvery, moveMax = time.Second, time.Minute
	// pullSize is how many messages may be under way to a follower.
	pullSize = 2000
)

// errGap says that the consumer lost a message on its way.
var errGap = errors.New("a message of the cluster state was lost on its way")

// Follow implements store.Log.
func (l *Log) Follow(ctx context.Context, deliver func([]store.Entry, bool) error) error {
	a := &assembler{deliver: deliver}
	for {
		err := l.read(ctx, a)
		var fatal *fatalError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &fatal):
			return fatal.error
		}
		// The consumer is gone with its server, or a message got lost: go on with a new one.
		select {
		case <-time.After(noLeaderEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fatalError ends a Follow.
type fatalError struct{ error }

// read delivers from a new consumer until something is wrong with it.
func (l *Log) read(ctx context.Context, a *assembler) error {
	info, err := bounded(ctx, l.elections, l.info)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return &fatalError{fmt.Errorf("%w: it is gone: %w", bus.ErrDamaged, err)}
	}
	if err != nil {
		return err
	}
	if info.State.LastSeq < a.last {
		return &fatalError{fmt.Errorf("%w: it has gone back from write %d to %d", bus.ErrDamaged, a.last, info.State.LastSeq)}
	}
	consumer, local, err := l.consumer(ctx, a.last+1)
	if err != nil {
		return err
	}
	if consumer.CachedInfo().NumPending == 0 {
		if err := a.caughtUp(); err != nil {
			return err
		}
	}
	msgs, err := consumer.Messages(jetstream.PullMaxMessages(pullSize), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return err
	}
	defer msgs.Stop()
	defer context.AfterFunc(ctx, msgs.Stop)()
	if !local {
		defer time.AfterFunc(a.nextMove(), msgs.Stop).Stop()
	}
	for n := uint64(1); ; n++ {
		m, err := msgs.Next()
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != n {
			return errGap
		}
		if err := a.add(received(m, meta)); err != nil {
			return err
		}
	}
}

// consumer makes one from a sequence on, on this manager's own server if that has a copy of the state: then no other manager's end
// keeps this one from seeing what is written.
func (l *Log) consumer(ctx context.Context, from uint64) (c jetstream.Consumer, local bool, err error) {
	for try := 1; ; try++ {
		c, err = bounded(ctx, l.elections, func(ctx context.Context) (jetstream.Consumer, error) {
			return l.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
				FilterSubject: bus.AllState(),
				DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
				AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: forgetConsumer,
			})
		})
		if err != nil {
			return nil, false, err
		}
		at := c.CachedInfo().Cluster
		local = at == nil || at.Leader == l.conn.ConnectedServerName()
		if local || try == localTries {
			return c, local, nil
		}
		_, err = bounded(ctx, l.elections, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, l.stream.DeleteConsumer(ctx, c.CachedInfo().Name)
		})
		if err != nil {
			return nil, false, err
		}
	}
}

// arrival is a message as an assembler needs it.
type arrival struct {
	entry store.Entry
	// whole says that a batch ends here, or that the message is none's.
	whole bool
	// behind is how many more there were when this one was sent.
	behind uint64
}

func received(m jetstream.Msg, meta *jetstream.MsgMetadata) arrival {
	h := m.Headers()
	e := store.Entry{Key: bus.StateKey(m.Subject()), Value: m.Data(), Seq: meta.Sequence.Stream}
	switch {
	case h.Get(operation) == deletion:
		e.Value = nil
	case e.Value == nil:
		e.Value = []byte{}
	}
	return arrival{entry: e, whole: h.Get(batchID) == "" || h.Get(batchCommit) != "", behind: meta.NumPending}
}

// assembler turns messages into deliveries that never show a state which was
// not once the state.
//
// The stream keeps only the last message of a key. While a follower lags, what it
// would have read next may be overwritten: it sees a gap in the sequence,
// and perhaps half a batch. The other half is further on, under a later
// write, so from a gap onwards everything is held back until there is nothing further on.
type assembler struct {
	deliver func([]store.Entry, bool) error
	move    time.Duration // before a consumer elsewhere is replaced
	held    []store.Entry
	last    uint64 // sequence of the last message
	live    bool
	gap     bool
}

// nextMove is when to replace a consumer that is not on this server, later each time.
func (a *assembler) nextMove() time.Duration {
	a.move = min(max(2*a.move, moveEvery), moveMax)
	return a.move
}

func (a *assembler) add(m arrival) error {
	a.gap = a.gap || m.entry.Seq != a.last+1
	a.last = m.entry.Seq
	switch m.entry.Key {
	case LeaseKey, fenceKey, turnKey, bus.FoundedKey: // not the store's
	default:
		a.held = append(a.held, m.entry)
	}
	switch {
	case m.whole && m.behind == 0:
		return a.caughtUp()
	case !a.live && len(a.held) >= store.MaxBatch:
		return a.flush() // nobody looks before it is all there
	case !a.live, !m.whole, a.gap:
		return nil
	}
	return a.flush()
}

// caughtUp says that everything there is has been received.
func (a *assembler) caughtUp() error {
	a.gap = false
	if err := a.flush(); err != nil || a.live {
		return err
	}
	a.live = true
	return a.tell(nil)
}

func (a *assembler) flush() error {
	if len(a.held) == 0 {
		return nil
	}
	entries := a.held
	a.held = nil
	return a.tell(entries)
}

func (a *assembler) tell(entries []store.Entry) error {
	if err := a.deliver(entries, a.live); err != nil {
		return &fatalError{err}
	}
	return nil
}
