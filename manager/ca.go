package manager

import (
	"bytes"
	"errors"
	"fmt"

	"orch/internal/identity"
	"orch/internal/store"
)

// issuer is the authority that signs now: the cluster's, or the one that takes over from it.
func (m *Manager) issuer(c *store.Cluster) (*identity.CA, error) {
	root, err := m.openCA(c.ID, c.TLSInfo.TrustRoot, c.CAKey)
	if err != nil || c.Rotation == nil {
		return root, err
	}
	next, err := m.openCA(c.ID, c.Rotation.Cert, c.Rotation.Key)
	if err != nil {
		return nil, err
	}
	return root.Succeed(next, []byte(c.Rotation.Cross))
}

func (m *Manager) openCA(cluster, certPEM string, sealed []byte) (*identity.CA, error) {
	key, err := identity.Open(m.cfg.Seal, sealed, caUse(cluster))
	if err != nil {
		return nil, fmt.Errorf("open the cluster's key: %w", err)
	}
	return identity.ParseCA([]byte(certPEM), key)
}

// RotateCA has another authority take over: the given one, or a new one if certPEM is nil. It
// changes c, which belongs to the caller. Who asks again before the last one has taken over starts again from
// the cluster's own.
func (m *Manager) RotateCA(c *store.Cluster, certPEM, keyPEM []byte) error {
	root, err := m.openCA(c.ID, c.TLSInfo.TrustRoot, c.CAKey)
	if err != nil {
		return err
	}
	var next *identity.CA
	if certPEM == nil {
		next, err = identity.NewCA()
	} else {
		next, err = identity.ParseCA(certPEM, keyPEM)
	}
	if err != nil {
		return err
	}
	if next.Same(root) {
		if c.Rotation != nil {
			return errors.New("the CA is being rotated away from this certificate: wait until that is done")
		}
		return nil
	}
	key, err := next.KeyPEM()
	if err != nil {
		return err
	}
	cross, err := root.Certify(next)
	if err != nil {
		return err
	}
	c.Rotation = &store.Rotation{Cert: string(next.CertPEM()), Cross: string(cross), Key: identity.Seal(m.cfg.Seal, key, caUse(c.ID))}
	c.RootRotationInProgress = true
	c.TLSInfo.CertIssuerSubject, c.TLSInfo.CertIssuerPublicKey = next.Subject()
	m.log.Info("another CA takes over; it is done once every node has a certificate of it")
	return nil
}

// standing is what every node's certificate is to be.
func standing(v *store.View) string {
	c := v.Cluster()
	if c == nil {
		return ""
	}
	root, err := identity.ParseCA([]byte(c.TLSInfo.TrustRoot), nil)
	if err != nil {
		return ""
	}
	if c.Rotation == nil {
		return root.Standing()
	}
	next, err := identity.ParseCA([]byte(c.Rotation.Cert), nil)
	if err != nil {
		return ""
	}
	both, err := root.Succeed(next, []byte(c.Rotation.Cross))
	if err != nil {
		return ""
	}
	return both.Standing()
}

// finishRotation lets the CA before go once every node, also one that is down, has a
// certificate of the new one: a node that came back and knew the old one only could never get in again. Join tokens name the CA, so
// there are new ones.
func finishRotation(tx *store.Tx) {
	c := tx.Cluster()
	if c == nil || c.Rotation == nil {
		return
	}
	next, err := identity.ParseCA([]byte(c.Rotation.Cert), nil)
	if err != nil {
		return
	}
	_, key := next.Subject()
	for _, n := range tx.Nodes(store.All()) {
		if !bytes.Equal(n.Description.TLSInfo.CertIssuerPublicKey, key) {
			return
		}
	}
	done := *c
	done.TLSInfo, done.CAKey = TLSInfo(next), c.Rotation.Key
	done.Rotation, done.RootRotationInProgress = nil, false
	done.JoinTokens.Worker, done.JoinTokens.Manager = identity.NewToken(next).Reveal(), identity.NewToken(next).Reveal()
	tx.Put(&done)
}
