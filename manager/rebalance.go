package manager

import (
	"context"
	"time"

	"orch/internal/store"
	"orch/manager/scheduler"
)

const (
	// rebalanceEvery is how often the leader looks for something to move, if the user wants that.
	rebalanceEvery = 10 * time.Second
	// calm is how long no node may have come, gone or changed: what flaps is not worth moving to.
	calm = 30 * time.Second
)

// rebalance moves tasks a few at a time while the cluster is labelled so, until the context ends.
func (m *Manager) rebalance(ctx context.Context, loop *leader) error {
	tick := time.NewTicker(rebalanceEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		v := m.store.View()
		if !rebalances(v, time.Now()) || len(scheduler.Rebalance(v.NewTx(time.Now()))) == 0 {
			continue
		}
		var moves []scheduler.Move
		if err := loop.Do(ctx, func(tx *store.Tx) { moves = scheduler.Begin(tx) }); err != nil {
			continue // the loop says what is wrong
		}
		for _, move := range moves {
			m.log.Info("a task moves to even the cluster out", "service", move.ServiceName, "task", move.TaskID, "from", move.FromHost, "to", move.ToHost)
		}
	}
}

// rebalances says that the user wants it, and that the nodes are calm.
func rebalances(v *store.View, now time.Time) bool {
	c := v.Cluster()
	if c == nil || c.Spec.Labels[scheduler.RebalanceLabel] != scheduler.Auto {
		return false
	}
	for _, n := range v.Nodes(store.All()) {
		if now.Sub(n.UpdatedAt) < calm {
			return false
		}
	}
	return true
}
