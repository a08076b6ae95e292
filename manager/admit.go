package manager

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/admission"
	"orch/internal/identity"
	"orch/internal/store"
)

// serverSuffix tells a node's server from that of an earlier time when it was a manager.
const serverSuffix = 6

var errNotMember = errors.New("the node is not part of the cluster")

// office admits machines into the cluster; it implements admission.Office.
type office struct{ m *Manager }

// errToken is Swarm's text.
// Source: swarmkit, ca/server.go.
//
//lint:ignore ST1005 Swarm's words
var errToken = errors.New("A valid join token is necessary to join this cluster")

// Admit makes a node of a machine that shows a join token. With the manager's it is a worker that is told to
// become a manager, as one that is promoted: there is one way to become one.
func (o office) Admit(ctx context.Context, r admission.Request, from net.IP) (admission.Grant, error) {
	cluster := o.m.store.View().Cluster()
	token, err := identity.ParseToken(r.Token)
	if err != nil {
		return admission.Grant{}, errToken
	}
	role := swarm.NodeRoleWorker
	switch {
	case is(token, cluster.JoinTokens.Manager):
		role = swarm.NodeRoleManager
	case !is(token, cluster.JoinTokens.Worker):
		return admission.Grant{}, errToken
	}
	who := identity.Peer{Node: identity.NewID(), Role: identity.Worker, Cluster: cluster.ID}
	cert, ca, err := o.sign(cluster, who, r.CSR)
	if err != nil {
		return admission.Grant{}, err
	}
	err = o.m.store.Update(ctx, func(tx *store.Tx) error {
		n := &store.Node{}
		n.ID = who.Node
		n.Spec.Role, n.Spec.Availability = role, swarm.NodeAvailabilityActive
		n.Spec.Labels = map[string]string{}
		if r.Availability != "" {
			n.Spec.Availability = r.Availability
		}
		n.Status = swarm.NodeStatus{State: swarm.NodeStateUnknown, Addr: from.String()}
		n.Description.TLSInfo = TLSInfo(ca)
		tx.Put(n)
		return nil
	})
	if err != nil {
		return admission.Grant{}, fmt.Errorf("add the node: %w", err)
	}
	o.m.log.Info("a machine joined", "node", who.Node, "address", from)
	return admission.Grant{
		NodeID: who.Node, ClusterID: cluster.ID, CA: ca.TrustPEM(), Cert: cert,
		Managers: o.managers(), Manager: role == swarm.NodeRoleManager, DataPathPort: cluster.DataPathPort,
	}, nil
}

// managers are the first ports of all managers, this one's first: it is known to answer.
func (o office) managers() []string {
	list := []string{o.m.cfg.Addr}
	for _, addr := range store.ManagerAddrs(o.m.store.View()) {
		if addr != o.m.cfg.Addr {
			list = append(list, addr)
		}
	}
	return list
}

// Enrol gives a node that is to be a manager what it needs, and the turn to join the consensus: a second that
// asks meanwhile is told to ask again. What is left of the node's server from an earlier time is removed first.
func (o office) Enrol(ctx context.Context, who identity.Peer, e admission.Enrolment) (admission.Warrant, error) {
	v := o.m.store.View()
	n := v.Node(who.Node)
	switch {
	case n == nil || who.Cluster != o.m.cfg.ClusterID:
		return admission.Warrant{}, errNotMember
	case n.Spec.Role != swarm.NodeRoleManager:
		return admission.Warrant{}, errors.New("the node is not to be a manager: promote it first")
	}
	if _, err := netip.ParseAddrPort(e.Addr); err != nil {
		return admission.Warrant{}, fmt.Errorf("the address of a manager: %w", err)
	}
	if err := o.m.state.TakeTurn(ctx, n.ID); err != nil {
		return admission.Warrant{}, fmt.Errorf("%w: %w", admission.ErrLater, err)
	}
	if n.Server != "" {
		if err := o.m.bus.RemoveMember(ctx, n.Server); err != nil {
			return admission.Warrant{}, fmt.Errorf("%w: %w", admission.ErrLater, err)
		}
	}
	who.Role = identity.Manager
	cert, ca, err := o.sign(v.Cluster(), who, e.CSR)
	if err != nil {
		return admission.Warrant{}, err
	}
	server := n.ID + "-" + identity.NewID()[:serverSuffix]
	err = o.m.store.Update(ctx, func(tx *store.Tx) error {
		old := tx.Node(who.Node)
		if old == nil || old.Spec.Role != swarm.NodeRoleManager {
			return errNotMember
		}
		next := *old
		next.Server, next.ManagerStatus = server, nil
		tx.Put(&next)
		return nil
	})
	if err != nil {
		return admission.Warrant{}, fmt.Errorf("enrol the manager: %w", err)
	}
	o.m.log.Info("a node becomes a manager", "node", who.Node, "address", e.Addr)
	return admission.Warrant{Cert: cert, CA: ca.TrustPEM(), Seal: o.m.cfg.Seal.Bytes(), Server: server, Managers: o.managers()}, nil
}

// Renew signs a fresh certificate for a node that is still part of the cluster.
func (o office) Renew(_ context.Context, who identity.Peer, csr []byte) (identity.Signed, error) {
	v := o.m.store.View()
	n := v.Node(who.Node)
	if n == nil || who.Cluster != o.m.cfg.ClusterID {
		return identity.Signed{}, errNotMember
	}
	if n.Spec.Role != swarm.NodeRoleManager && n.Server == "" {
		who.Role = identity.Worker // whatever it was
	}
	cert, ca, err := o.sign(v.Cluster(), who, csr)
	if err != nil {
		return identity.Signed{}, err
	}
	return identity.Signed{Cert: cert, Trust: ca.TrustPEM()}, nil
}

func (o office) sign(cluster *store.Cluster, who identity.Peer, csr []byte) ([]byte, *identity.CA, error) {
	ca, err := o.m.issuer(cluster)
	if err != nil {
		return nil, nil, err
	}
	validity := cluster.Spec.CAConfig.NodeCertExpiry
	if validity < identity.MinValidity {
		validity = identity.DefaultValidity
	}
	cert, err := ca.Sign(csr, who, validity)
	return cert, ca, err
}

func is(token identity.Token, current string) bool {
	want, err := identity.ParseToken(current)
	return err == nil && token.Equal(want)
}

// Renew signs this manager's own certificate, or what it is to be now.
func (m *Manager) Renew(ctx context.Context, csr []byte) (identity.Signed, error) {
	return office{m}.Renew(ctx, m.cfg.Identity.Peer(), csr)
}
