package jslog

import (
	"context"
	"errors"
	"testing"
	"time"

	"orch/internal/bus"
)

// What was asked of a leader that is gone is not waited for once there is another.
func TestAnElectionEndsTheWaitForTheLeaderBefore(t *testing.T) {
	l, _ := open(t)
	began := time.Now()
	_, err := bounded(t.Context(), l.elections, func(ctx context.Context) (struct{}, error) {
		if err := l.conn.Publish(bus.StateElected, nil); err != nil { // as the server does
			return struct{}{}, err
		}
		<-ctx.Done()
		return struct{}{}, ctx.Err()
	})
	if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > tryTimeout/2 {
		t.Errorf("%v after %s", err, took)
	}
}
