package jslog

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"orch/internal/bus"
)

// settleAfter is how long a server that says that it leads the stream takes until it listens as its leader.
const settleAfter = 30 * time.Millisecond

// elections is when the stream gets another leader. What the one before was asked it will hardly answer: its machine may
// be gone, without the connections to it having ended.
type elections struct {
	mu   sync.Mutex // guards next
	next chan struct{}
}

func hearElections(conn *nats.Conn) (*elections, error) {
	e := &elections{next: make(chan struct{})}
	_, err := conn.Subscribe(bus.StateElected, func(*nats.Msg) { // until the connection ends
		e.mu.Lock()
		defer e.mu.Unlock()
		close(e.next)
		e.next = make(chan struct{})
	})
	if err != nil {
		return nil, fmt.Errorf("listen for the state's leaders: %w", err)
	}
	return e, nil
}

// after is closed by the next election.
func (e *elections) after() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.next
}

// bounded asks the server something once, until the answer's time is up or there is another leader to ask; both are
// context.DeadlineExceeded.
func bounded[T any](ctx context.Context, e *elections, ask func(context.Context) (T, error)) (T, error) {
	within, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	elected := e.after()
	go func() {
		select {
		case <-elected:
			time.AfterFunc(settleAfter, cancel)
		case <-within.Done():
		}
	}()
	answer, err := ask(within)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return answer, err
}
