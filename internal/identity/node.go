package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Request is a node's key and the request to have it certified.
type Request struct {
	key *ecdsa.PrivateKey
	csr []byte
}

// NewRequest makes a key; it never leaves the node.
func NewRequest() (*Request, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the node's key: %w", err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return &Request{key: key, csr: toPEM(der, pemCSR)}, nil
}

// CSR is what the CA signs.
func (r *Request) CSR() []byte { return r.csr }

// KeyPEM is the node's key in the clear, for its file.
func (r *Request) KeyPEM() ([]byte, error) { return keyPEM(r.key) }

// Node is this node's identity. Renew replaces the certificate under the TLS
// configurations made from it: they present the new one on their next
// handshake, without a restart.
type Node struct {
	ca      *CA
	current atomic.Pointer[tls.Certificate]
}

// NewNode is the identity of a certificate and its key under a CA.
func NewNode(ca *CA, certPEM, keyPEM []byte) (*Node, error) {
	n := &Node{ca: ca}
	if err := n.Renew(certPEM, keyPEM); err != nil {
		return nil, err
	}
	return n, nil
}

// Renew replaces certificate and key; they must be the CA's work.
func (n *Node) Renew(certPEM, keyPEM []byte) error {
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("read the node's certificate: %w", err)
	}
	// An expired one is accepted here: the node has to start to be told what to do.
	if err := cert.Leaf.CheckSignatureFrom(n.ca.cert); err != nil {
		return fmt.Errorf("read the node's certificate: %w", err)
	}
	if _, err := PeerOf(cert.Leaf); err != nil {
		return fmt.Errorf("read the node's certificate: %w", err)
	}
	// The CA goes along in the handshake: a joiner has nothing but its digest.
	cert.Certificate = append(cert.Certificate, n.ca.cert.Raw)
	n.current.Store(&cert)
	return nil
}

// Peer is who the node is.
func (n *Node) Peer() Peer {
	p, err := PeerOf(n.current.Load().Leaf)
	if err != nil {
		panic(err) // Renew let it in
	}
	return p
}

// RenewAt is when to ask for the next certificate: half-way through this one.
func (n *Node) RenewAt() time.Time {
	leaf := n.current.Load().Leaf
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
}

// Expires is the end of the certificate.
func (n *Node) Expires() time.Time { return n.current.Load().Leaf.NotAfter }

// Server is the configuration of a manager's listeners: any node of the cluster
// may connect, nobody else.
func (n *Node) Server() *tls.Config {
	c := n.base()
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, n.ca.pool()
	return c
}

// Client is the configuration of connections to managers.
func (n *Node) Client() *tls.Config {
	c := n.base()
	c.RootCAs, c.ServerName = n.ca.pool(), string(Manager)
	return c
}

// Route is the configuration of connections among managers, in both directions.
func (n *Node) Route() *tls.Config {
	c := n.Server()
	c.RootCAs, c.ServerName = c.ClientCAs, string(Manager)
	c.VerifyConnection = func(s tls.ConnectionState) error {
		p, err := verified(s)
		if err == nil && p.Role != Manager {
			err = fmt.Errorf("node %s is no manager", p.Node)
		}
		return err
	}
	return c
}

func (n *Node) base() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return n.current.Load(), nil },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return n.current.Load(), nil
		},
	}
}

// verified is the peer of a connection made with one of the configurations above.
func verified(s tls.ConnectionState) (Peer, error) {
	if len(s.VerifiedChains) == 0 {
		return Peer{}, errors.New("the peer showed no certificate of this cluster")
	}
	return PeerOf(s.VerifiedChains[0][0])
}

// Join is the configuration for the first contact of a machine that has a join
// token and no certificate yet: it accepts only a manager of the cluster whose
// CA the token names.
func Join(t Token) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: string(Manager),
		// The CA is learnt in the handshake, so verification is ours, and complete.
		InsecureSkipVerify: true,
		VerifyConnection:   func(s tls.ConnectionState) error { return pinned(s, t) },
	}
}

func pinned(s tls.ConnectionState, t Token) error {
	for _, cert := range s.PeerCertificates[1:] {
		if !cert.IsCA || digest(cert) != t.digest {
			continue
		}
		opts := x509.VerifyOptions{Roots: (&CA{cert: cert}).pool(), DNSName: string(Manager)}
		if _, err := s.PeerCertificates[0].Verify(opts); err != nil {
			return fmt.Errorf("verify the manager's certificate: %w", err)
		}
		return nil
	}
	return errors.New("remote CA does not match fingerprint: the join token is of another cluster")
}

func (ca *CA) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}
