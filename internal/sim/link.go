package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"orch/internal/bus"
)

// link is one node's connection to whoever leads.
type link struct {
	cluster     *Cluster
	node        string
	increments  chan increment
	reconnected chan struct{}

	mu     sync.Mutex // guards what follows
	down   bool
	loss   float64
	delay  time.Duration // of each message, at most
	random *rand.Rand
}

// increment is a message that is on its way until a time.
type increment struct {
	bus.Assignments
	at time.Time
}

var errCut = errors.New("no route to the managers")

func newLink(c *Cluster, node string) *link {
	return &link{
		cluster: c, node: node, increments: make(chan increment, 1000), reconnected: make(chan struct{}, 1),
		random: rand.New(rand.NewPCG(c.random.Uint64(), 0)),
	}
}

func (l *link) cut(down bool) {
	l.mu.Lock()
	l.down = down
	l.mu.Unlock()
	if !down {
		l.reconnect()
	}
}

func (l *link) lossy(share float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loss = share
}

// lost decides the fate of one message.
func (l *link) lost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down || l.random.Float64() < l.loss
}

func (l *link) reconnect() {
	select {
	case l.reconnected <- struct{}{}:
	default:
	}
}

func (l *link) push(a bus.Assignments) error {
	if l.lost() {
		return nil // as with NATS: nobody is told
	}
	l.increments <- increment{a, time.Now().Add(l.takes())}
	return nil
}

func (l *link) slow(delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = delay
}

// takes is how long one message is on its way.
func (l *link) takes() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.delay <= 0 {
		return 0
	}
	return time.Duration(l.random.Int64N(int64(l.delay)))
}

// wait lets a message's time pass.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Session, Next, Reconnected, Beat and Report are worker.Managers.
func (l *link) Session(ctx context.Context, s bus.Session) (bus.Assignments, error) {
	return ask(ctx, l, func() (bus.Assignments, error) { return l.cluster.leader.Load().dispatcher.Session(ctx, s) })
}

// Next is the next increment. Late ones keep their order.
func (l *link) Next(ctx context.Context) (bus.Assignments, error) {
	select {
	case a := <-l.increments:
		return a.Assignments, wait(ctx, time.Until(a.at))
	case <-ctx.Done():
		return bus.Assignments{}, ctx.Err()
	}
}

// Reconnected tells that messages may have been missed.
func (l *link) Reconnected() <-chan struct{} { return l.reconnected }

// Elsewhere implements worker.Managers: there is one manager here.
func (l *link) Elsewhere() {}

// Beat is a heartbeat.
func (l *link) Beat(ctx context.Context, b bus.Beat) (bus.Reply, error) {
	return ask(ctx, l, func() (bus.Reply, error) { return l.cluster.leader.Load().dispatcher.Beat(ctx, b) })
}

// Report carries task states.
func (l *link) Report(ctx context.Context, r bus.Report) (bus.Reply, error) {
	return ask(ctx, l, func() (bus.Reply, error) { return l.cluster.leader.Load().dispatcher.Report(ctx, r) })
}

// ask is a request that may be lost or late, or its answer.
func ask[T any](ctx context.Context, l *link, fn func() (T, error)) (none T, err error) {
	if l.lost() || wait(ctx, l.takes()) != nil {
		return none, errCut
	}
	answer, err := fn()
	if l.lost() || wait(ctx, l.takes()) != nil {
		return none, errCut
	}
	return answer, err
}

// Image is not needed: every simulated node has every image.
func (l *link) Image(context.Context, bus.ImageRequest) (bus.ImageReply, error) {
	return bus.ImageReply{}, nil
}
