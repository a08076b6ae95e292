package dispatcher

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// findDown declares the nodes down that have missed too many heartbeats. The
// write is not waited for here: it needs the leader's loop, which may need us.
func (d *Dispatcher) findDown(ctx context.Context) {
	for _, n := range d.Store.View().Nodes(store.All()) {
		if n.Status.State == swarm.NodeStateDown && d.sessions[n.ID] != nil && !d.downing[n.ID] {
			// It was declared down when it had just come back: the write took its time. Asked for its
			// heartbeat it will say again that it is ready.
			delete(d.sessions, n.ID)
		}
		if n.Status.State == swarm.NodeStateDown || d.downing[n.ID] || time.Since(d.seen[n.ID]) < MissedBeats*d.Heartbeat {
			continue
		}
		if _, ok := d.seen[n.ID]; !ok {
			d.seen[n.ID] = time.Now() // it has joined since and has yet to ask for its set
			continue
		}
		d.downing[n.ID] = true
		delete(d.sessions, n.ID)
		d.Log.Warn("a node is down", "node", n.ID, "host", n.Description.Hostname, "silent", time.Since(d.seen[n.ID]).Round(time.Millisecond))
		go d.declareDown(ctx, n.ID)
	}
}

func (d *Dispatcher) declareDown(ctx context.Context, node string) {
	err := d.Do(ctx, func(tx *store.Tx) {
		old := tx.Node(node)
		if old == nil || old.Status.State == swarm.NodeStateDown {
			return
		}
		n := *old
		n.Status.State, n.Status.Message = swarm.NodeStateDown, "heartbeat failure"
		n.DownAt = tx.Now()
		tx.Put(&n)
	})
	if err != nil && ctx.Err() == nil {
		d.Log.Error("a node could not be declared down", "node", node, "error", err)
	}
	_ = d.call(ctx, func() { delete(d.downing, node) })
}
