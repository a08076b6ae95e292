package manager

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/admission"
	"orch/internal/identity"
	"orch/internal/store"
)

// office admits machines into the cluster; it implements admission.Office.
type office struct{ m *Manager }

// errToken is Swarm's text.
// Source: swarmkit, ca/server.go.
//
//lint:ignore ST1005 Swarm's words
var errToken = errors.New("A valid join token is necessary to join this cluster")

// Admit makes a node of a machine that shows the worker's join token.
func (o office) Admit(ctx context.Context, r admission.Request, from net.IP) (admission.Grant, error) {
	cluster := o.m.store.View().Cluster()
	token, err := identity.ParseToken(r.Token)
	if err != nil {
		return admission.Grant{}, errToken
	}
	if is(token, cluster.JoinTokens.Manager) {
		return admission.Grant{}, errors.New("a second manager is not possible in this version of orch: join with the worker's token (`orch token worker`)")
	}
	if !is(token, cluster.JoinTokens.Worker) {
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
		n.Spec.Role, n.Spec.Availability = swarm.NodeRoleWorker, swarm.NodeAvailabilityActive
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
		Managers: []string{o.m.cfg.AdvertiseBus}, DataPathPort: cluster.DataPathPort,
	}, nil
}

// Renew signs a fresh certificate for a node that is still part of the cluster.
func (o office) Renew(_ context.Context, who identity.Peer, csr []byte) (identity.Signed, error) {
	v := o.m.store.View()
	if v.Node(who.Node) == nil || who.Cluster != o.m.cfg.ClusterID {
		return identity.Signed{}, errors.New("the node is not part of the cluster")
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

// cutOffRemoved refuses the certificates of nodes that were removed, and cuts their
// connections, until the context ends.
func (m *Manager) cutOffRemoved(ctx context.Context) error {
	watch, view := m.store.Watch(store.KindCluster)
	defer watch.Close()
	for {
		if c := view.Cluster(); c != nil {
			m.bus.Revoke(c.Removed)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-watch.C():
			watch.Take()
			view = m.store.View()
		}
	}
}

// renewOwn keeps the manager's own certificate fresh.
func (m *Manager) renewOwn(ctx context.Context) error {
	return identity.KeepFresh(ctx, m.cfg.Identity, m.restand(ctx), m.cfg.SaveIdentity, func(ctx context.Context, csr []byte) (identity.Signed, error) {
		return office{m}.Renew(ctx, m.cfg.Identity.Peer(), csr)
	}, func(err error, again time.Duration) {
		m.log.Warn("the node's certificate could not be renewed", "again in", again, "error", err)
	})
}
