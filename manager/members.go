package manager

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/identity"
	"orch/internal/store"
)

// memberRetry is the pause before a change of the managers is tried again that was not possible.
const memberRetry = 500 * time.Millisecond

// errDemoted ends the leadership of a manager that is to be a worker: the next leader takes it out of the consensus.
var errDemoted = errors.New("this manager is to be a worker")

// arrive counts this manager in, now that its server is part of the consensus, and lets the next one join.
func (m *Manager) arrive(ctx context.Context) error {
	err := m.store.Update(ctx, func(tx *store.Tx) error {
		old := tx.Node(m.cfg.NodeID)
		if old == nil || old.Spec.Role != swarm.NodeRoleManager || old.Server != m.cfg.Server {
			return errors.New("the node was demoted while it joined")
		}
		n := *old
		n.ManagerStatus = &swarm.ManagerStatus{Reachability: swarm.ReachabilityReachable, Addr: m.cfg.Addr}
		tx.Put(&n)
		return nil
	})
	return errors.Join(err, m.state.EndTurn(ctx, m.cfg.NodeID))
}

// alone makes the cluster this manager's, after the others were lost: they have to join again.
func alone(tx *store.Tx, cfg Config) error {
	old := tx.Cluster()
	if old == nil {
		return errors.New("the state that this manager has holds no cluster")
	}
	// What the others had written and this manager had not got is lost: nobody is to compare sequences across it.
	c := *old
	c.Histories = append(slices.Clone(c.Histories), identity.NewID())
	tx.Put(&c)
	for _, old := range tx.Nodes(store.All()) {
		n := *old
		switch {
		case n.ID == cfg.NodeID:
			n.Spec.Role, n.Server = swarm.NodeRoleManager, cfg.Server
			n.ManagerStatus = &swarm.ManagerStatus{Reachability: swarm.ReachabilityReachable, Addr: cfg.Addr}
		case n.Server != "" || n.Spec.Role == swarm.NodeRoleManager:
			n.Spec.Role, n.Server, n.ManagerStatus = swarm.NodeRoleWorker, "", nil
		default:
			continue
		}
		tx.Put(&n)
	}
	return nil
}

// mayLead waits until this manager is not about to become a worker, unless there is nobody else.
func (m *Manager) mayLead(ctx context.Context) error {
	watch, view := m.store.Watch(store.KindNode)
	defer watch.Close()
	for demoted(view, m.cfg.NodeID) {
		select {
		case <-watch.C():
			watch.Take()
			view = m.store.View()
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// demoted says that a manager is to be a worker and that another can see to it.
func demoted(v *store.View, node string) bool {
	n := v.Node(node)
	if n != nil && n.Spec.Role == swarm.NodeRoleManager {
		return false
	}
	for _, other := range v.Nodes(store.All()) {
		if other.ID != node && other.Spec.Role == swarm.NodeRoleManager && other.ManagerStatus != nil {
			return true
		}
	}
	return false
}

// keepMembers runs on the leader: it takes the managers out of the consensus that an operator has demoted, and only those, and keeps
// a copy of the state for each manager that is counted on.
func (m *Manager) keepMembers(ctx context.Context, epoch uint64) error {
	watch, view := m.store.Watch(store.KindNode)
	defer watch.Close()
	said := ""
	for {
		var again <-chan time.Time
		err := m.settleMembers(ctx, epoch, view)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errDemoted), errors.Is(err, store.ErrFenced):
			return err
		case err != nil:
			if text := err.Error(); text != said {
				m.log.Warn("the managers cannot be changed yet", "error", err)
				said = text
			}
			again = time.After(memberRetry)
		default:
			said = ""
		}
		select {
		case <-ctx.Done():
			return nil
		case <-watch.C():
			watch.Take()
		case <-again:
		}
		view = m.store.View()
	}
}

func (m *Manager) settleMembers(ctx context.Context, epoch uint64, view *store.View) error {
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	if demoted(view, m.cfg.NodeID) {
		return errDemoted
	}
	counted := 0
	for _, n := range view.Nodes(store.All()) {
		switch {
		case n.Server != "" && n.Spec.Role == swarm.NodeRoleWorker && n.ID != m.cfg.NodeID:
			if err := m.dismiss(ctx, epoch, n); err != nil {
				return err
			}
		case n.ManagerStatus != nil:
			counted++
		}
	}
	return m.bus.Replicate(ctx, counted)
}

// dismiss takes a manager's server out of the consensus. The node hears of it from the dispatcher.
func (m *Manager) dismiss(ctx context.Context, epoch uint64, n *store.Node) error {
	if err := m.bus.CanSpare(ctx, n.Server); err != nil {
		return err
	}
	if err := m.bus.RemoveMember(ctx, n.Server); err != nil {
		return err
	}
	m.log.Info("a manager is a worker now", "node", n.ID)
	return m.store.UpdateFenced(ctx, epoch, func(tx *store.Tx) error {
		old := tx.Node(n.ID)
		if old == nil || old.Server != n.Server {
			return nil
		}
		next := *old
		next.Server, next.ManagerStatus = "", nil
		tx.Put(&next)
		return nil
	})
}

// keepOut refuses the certificates of nodes that were removed, and cuts their connections, and lets only
// managers have routes, until the context ends.
func (m *Manager) keepOut(ctx context.Context) error {
	watch, view := m.store.Watch(store.KindCluster, store.KindNode)
	defer watch.Close()
	for {
		if c := view.Cluster(); c != nil {
			m.bus.Revoke(c.Removed)
		}
		managers := []string{m.cfg.NodeID}
		for _, n := range view.Nodes(store.All()) {
			if n.Server != "" {
				managers = append(managers, n.ID)
			}
		}
		m.bus.AdmitRoutes(managers)
		select {
		case <-ctx.Done():
			return nil
		case <-watch.C():
			watch.Take()
			view = m.store.View()
		}
	}
}

// IsLast says whether nobody but the node is to be a manager.
func IsLast(v *store.View, node string) bool {
	for _, n := range v.Nodes(store.All()) {
		if n.ID != node && n.Spec.Role == swarm.NodeRoleManager {
			return false
		}
	}
	return true
}

// Reachability counts the managers that can be reached from this one, itself among them, and those that cannot.
func (m *Manager) Reachability() (reachable, unreachable int) {
	for _, n := range m.store.View().Nodes(store.All()) {
		switch {
		case n.ManagerStatus == nil:
		case m.peers.Of(n.ID).Reachable:
			reachable++
		default:
			unreachable++
		}
	}
	return reachable, unreachable
}
