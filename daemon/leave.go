package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
	"orch/manager"
)

// resignTimeout bounds how long a manager that leaves waits for the others to go on without it.
const resignTimeout = 15 * time.Second

// Leave takes the node out of its cluster: its tasks end, and nothing of them stays.
func (d *Daemon) Leave(ctx context.Context, force bool) error {
	d.change.Lock()
	defer d.change.Unlock()
	if d.idle != nil {
		return d.leaveIdle(ctx, force)
	}
	if d.node == nil {
		return errNoMember
	}
	if !force {
		if text := d.node.whyStay(); text != "" {
			return errdefs.ErrUnavailable.WithMessage(text)
		}
	}
	if err := d.node.resign(ctx); err != nil {
		d.log.Warn("the other managers still count on this one; demote it there", "error", err)
	}
	// The membership goes first: a daemon that is killed in between must not come
	// back as a member whose state is gone.
	if err := os.Remove(d.files.path(stateFile)); err != nil {
		return fmt.Errorf("forget the node's state: %w", err)
	}
	n := d.node
	d.node = nil
	d.show(d.outside)
	err := errors.Join(n.end(ctx), d.files.remove())
	d.log.Info("left the cluster", "cluster", n.m.Load().ClusterID, "error", err)
	return err
}

// Swarm's words.
const (
	leavesManager = "You are attempting to leave the swarm on a node that is participating as a manager. "
	leavesLast    = "Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message."
)

// whyStay says, in Swarm's words, why a manager should not leave; "" on a worker.
// Source: moby, daemon/cluster/swarm.go, Leave.
func (n *node) whyStay() string {
	if !n.m.Load().Manager {
		return ""
	}
	text := leavesManager
	if m := n.manager.Load(); m == nil {
		text += "Doing so may lose the consensus of your cluster. "
	} else {
		reachable, unreachable := m.Reachability()
		switch {
		case reachable == 1 && unreachable == 0:
			return text + leavesLast
		case reachable-2 <= unreachable:
			text += fmt.Sprintf("Removing this node leaves %d managers out of %d. Without a Raft quorum your swarm will be inaccessible. ", reachable-1, reachable+unreachable)
		}
	}
	return text + "The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`. Use `--force` to suppress this message."
}

// resign has the other managers go on without this one. Swarm does not: it leaves a dead manager that still counts.
func (n *node) resign(ctx context.Context) error {
	m := n.manager.Load()
	if m == nil || manager.IsLast(m.Store().View(), n.m.Load().NodeID) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, resignTimeout)
	defer cancel()
	watch, _ := m.Store().Watch(store.KindNode)
	defer watch.Close()
	id := n.m.Load().NodeID
	err := m.Store().Update(ctx, func(tx *store.Tx) error {
		old := tx.Node(id)
		if old == nil {
			return errors.New("the node was removed")
		}
		next := *old
		next.Spec.Role = swarm.NodeRoleWorker
		tx.Put(&next)
		return nil
	})
	if err != nil {
		return fmt.Errorf("demote the node: %w", err)
	}
	for {
		// The control plane may end before this view has heard of it.
		if now := m.Store().View().Node(id); now == nil || now.Server == "" || n.manager.Load() == nil {
			return nil
		}
		select {
		case <-watch.C():
			watch.Take()
		case <-time.After(resignTimeout / 100):
		case <-ctx.Done():
			return fmt.Errorf("wait for the other managers: %w", ctx.Err())
		}
	}
}
