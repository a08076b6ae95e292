package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/identity"
	"orch/manager/api"
)

// idle is a membership whose roles do not run, because the manager is locked. Containers run on;
// the API says so and takes the key.
type idle struct {
	m     *membership
	state swarm.LocalNodeState
}

// rest makes the node idle and says so to clients.
func (d *Daemon) rest(i *idle) {
	d.idle = i
	state := func() swarm.LocalNodeState { return i.state }
	r := d.router(state, true)
	api.Inactive(r, d, state, nil, d.engine)
	d.addInfo(r, func() swarm.Info {
		return swarm.Info{NodeID: i.m.NodeID, NodeAddr: i.m.DataPathAddr, LocalNodeState: i.state}
	})
	d.show(r)
}

// Unlock lets a locked manager go on.
func (d *Daemon) Unlock(ctx context.Context, r swarm.UnlockRequest) error {
	d.change.Lock()
	defer d.change.Unlock()
	switch {
	case d.node == nil && d.idle == nil:
		return api.ErrNoManager
	case d.idle == nil || d.idle.state != swarm.LocalNodeStateLocked:
		return errNotLocked
	}
	key, err := identity.ParseUnlockKey(r.UnlockKey)
	if err != nil {
		return errWrongKey
	}
	m, c, err := d.files.load(&key)
	switch {
	case errors.Is(err, identity.ErrSealed):
		return errWrongKey
	case err != nil:
		return err
	}
	n, err := d.start(ctx, m, c, managing{})
	if err != nil {
		return err
	}
	d.enter(n)
	d.log.Info("unlocked", "node", m.NodeID)
	return nil
}

// leaveIdle takes a node out of its cluster whose roles do not run.
func (d *Daemon) leaveIdle(ctx context.Context, force bool) error {
	if !force {
		if d.idle.state == swarm.LocalNodeStateLocked {
			return errdefs.ErrUnavailable.WithMessage(api.Locked)
		}
		return errdefs.ErrUnavailable.WithMessage(leavesManager + leavesLast)
	}
	if err := os.Remove(d.files.path(stateFile)); err != nil {
		return fmt.Errorf("forget the node's state: %w", err)
	}
	m := d.idle.m
	d.idle = nil
	d.show(d.outside)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	n := &node{d: d, c: &credentials{}, told: make(chan word, 1)}
	n.m.Store(m)
	err := n.prepareAgent(ctx, nil)
	if err == nil {
		err = n.agent.Leave(ctx)
	}
	err = errors.Join(err, d.files.remove())
	d.log.Info("left the cluster", "cluster", m.ClusterID, "error", err)
	return err
}
