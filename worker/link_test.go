package worker

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
)

// gone answers nothing more once its leader is lost.
type gone struct {
	*managers
	lost chan struct{}
}

func (g gone) Beat(ctx context.Context, b bus.Beat) (bus.Reply, error) {
	select {
	case <-g.lost:
		<-ctx.Done()
		return bus.Reply{}, ctx.Err()
	default:
		return g.managers.Beat(ctx, b)
	}
}

// A question to a leader that is lost is not waited for once the next one has said that it leads.
func TestANewLeaderIsAskedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gone{newManagers(), make(chan struct{})}
		sets := make(chan bus.Assignments, 10)
		l := newLink(Config{Managers: m, Log: slog.New(slog.DiscardHandler)},
			func(context.Context) (bus.Session, error) {
				return bus.Session{Description: swarm.NodeDescription{}}, nil
			},
			func(_ context.Context, set bus.Assignments) { sets <- set })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.run(ctx) }()
		if set := <-sets; set.Epoch != 1 {
			t.Fatalf("first set: %+v", set)
		}
		close(m.lost)
		time.Sleep(heartbeatDefault + beatLimit/4) // a beat is on its way
		m.mu.Lock()
		m.full.Epoch = 5
		m.mu.Unlock()
		m.increments <- bus.Assignments{Cluster: "c", Epoch: 1} // late
		synctest.Wait()
		if len(sets) > 0 {
			t.Error("the leader that is lost was asked again")
		}
		m.increments <- bus.Assignments{Cluster: "c", Epoch: 5}
		synctest.Wait()
		select {
		case set := <-sets:
			if set.Epoch != 5 {
				t.Errorf("the next set: %+v", set)
			}
		default:
			t.Error("the new leader was not asked")
		}
		cancel()
		<-ended
	})
}
