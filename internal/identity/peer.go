package identity

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
)

// Role is a node's, as its certificate's organizational unit says.
type Role string

// The roles, and at the same time the DNS names by which TLS verifies a peer:
// addresses change, what a node may be does not.
const (
	Manager Role = "swarm-manager"
	Worker  Role = "swarm-worker"
)

// Peer is who a certificate says its holder is.
type Peer struct {
	Node    string // common name
	Role    Role   // organizational unit
	Cluster string // organization
}

// PeerOf reads a certificate that has been verified already.
func PeerOf(cert *x509.Certificate) (Peer, error) {
	s := cert.Subject
	if len(s.OrganizationalUnit) != 1 || len(s.Organization) != 1 {
		return Peer{}, errors.New("certificate is not a node's: it must name one role and one cluster")
	}
	p := Peer{Node: s.CommonName, Role: Role(s.OrganizationalUnit[0]), Cluster: s.Organization[0]}
	return p, p.check()
}

func (p Peer) check() error {
	if p.Role != Manager && p.Role != Worker {
		return fmt.Errorf("certificate names no known role: %q", p.Role)
	}
	// Both become parts of bus subjects, where one of . * > would be a wildcard or
	// another node's name.
	if !isToken(p.Node) || !isToken(p.Cluster) {
		return fmt.Errorf("certificate names an impossible node %q or cluster %q", p.Node, p.Cluster)
	}
	return nil
}

func isToken(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func (p Peer) subject() pkix.Name {
	return pkix.Name{CommonName: p.Node, OrganizationalUnit: []string{string(p.Role)}, Organization: []string{p.Cluster}}
}

func (p Peer) names() []string {
	if p.Role == Manager {
		return []string{string(p.Role), p.Node, caName}
	}
	return []string{string(p.Role), p.Node}
}
