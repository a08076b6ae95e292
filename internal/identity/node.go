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
	current atomic.Pointer[held]
}

// held is what a node shows and what it trusts; both change at once.
type held struct {
	cert   *tls.Certificate
	trust  *CA
	issuer *x509.Certificate // the trusted root that made cert
}

// NewNode is the identity of a certificate and its key under a CA.
func NewNode(ca *CA, certPEM, keyPEM []byte) (*Node, error) {
	n := &Node{}
	if err := n.Adopt(ca, certPEM, keyPEM); err != nil {
		return nil, err
	}
	return n, nil
}

// Renew replaces certificate and key; they must be the work of a CA that the node trusts.
func (n *Node) Renew(certPEM, keyPEM []byte) error {
	return n.Adopt(n.current.Load().trust, certPEM, keyPEM)
}

// Adopt replaces certificate and key, and with them whom the node trusts.
func (n *Node) Adopt(trust *CA, certPEM, keyPEM []byte) error {
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("read the node's certificate: %w", err)
	}
	h := &held{cert: &cert, trust: trust}
	// An expired one is accepted here: the node has to start to be told what to do.
	for _, root := range trust.roots() {
		if cert.Leaf.CheckSignatureFrom(root) == nil {
			h.issuer = root
		}
	}
	if h.issuer == nil {
		return errors.New("read the node's certificate: it is not the work of the cluster's CA")
	}
	if _, err := PeerOf(cert.Leaf); err != nil {
		return fmt.Errorf("read the node's certificate: %w", err)
	}
	// The roots go along in the handshake: a joiner has nothing but the digest of one.
	for _, root := range trust.roots() {
		cert.Certificate = append(cert.Certificate, root.Raw)
	}
	n.current.Store(h)
	return nil
}

// Trust is whom the node trusts.
func (n *Node) Trust() *CA { return n.current.Load().trust }

// Issuer is the subject and the public key, in DER, of who made the node's certificate.
func (n *Node) Issuer() (subject, publicKey []byte) {
	issuer := n.current.Load().issuer
	return issuer.RawSubject, issuer.RawSubjectPublicKeyInfo
}

// Standing tells whose certificates the node trusts and who made its own. It is to be what
// Standing of the cluster's CA is, or the node has its certificate renewed.
func (n *Node) Standing() string {
	h := n.current.Load()
	return standing(h.trust.roots(), h.issuer)
}

// Peer is who the node is.
func (n *Node) Peer() Peer {
	p, err := PeerOf(n.current.Load().cert.Leaf)
	if err != nil {
		panic(err) // Renew let it in
	}
	return p
}

// RenewAt is when to ask for the next certificate: half-way through this one.
func (n *Node) RenewAt() time.Time {
	leaf := n.current.Load().cert.Leaf
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
}

// Expires is the end of the certificate.
func (n *Node) Expires() time.Time { return n.current.Load().cert.Leaf.NotAfter }

// Server is the configuration of a manager's listeners: any node of the cluster
// may connect, nobody else.
func (n *Node) Server() *tls.Config { return n.listener(tls.RequireAndVerifyClientCert) }

// Admission is that of the listener for machines that join: they have no certificate yet.
func (n *Node) Admission() *tls.Config { return n.listener(tls.VerifyClientCertIfGiven) }

// Client is the configuration of connections to managers.
func (n *Node) Client() *tls.Config {
	c := n.base()
	c.ServerName = string(Manager)
	n.verifyManagers(c)
	return c
}

// Route is the configuration of connections among managers, in both directions.
func (n *Node) Route() *tls.Config {
	c := n.Server()
	c.ServerName = string(Manager)
	n.verifyManagers(c)
	return c
}

// listener verifies clients by whom the node trusts at the time of the handshake.
func (n *Node) listener(auth tls.ClientAuthType) *tls.Config {
	c := n.base()
	// A session that is resumed would be one of whom the node trusted then.
	c.SessionTicketsDisabled = true
	c.ClientAuth, c.ClientCAs = auth, n.Trust().pool()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := c.Clone()
		now.GetConfigForClient, now.ClientCAs = nil, n.Trust().pool()
		return now, nil
	}
	return c
}

// verifyManagers demands that the peer is a manager, by whom the node trusts at the time
// of the handshake. RootCAs could only say whom it trusted once.
func (n *Node) verifyManagers(c *tls.Config) {
	c.InsecureSkipVerify = true // ours is complete
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("the peer showed no certificate")
		}
		opts := x509.VerifyOptions{
			Roots: n.Trust().pool(), Intermediates: x509.NewCertPool(), DNSName: string(Manager),
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		}
		for _, cert := range s.PeerCertificates[1:] {
			opts.Intermediates.AddCert(cert)
		}
		if _, err := s.PeerCertificates[0].Verify(opts); err != nil {
			return fmt.Errorf("verify the manager's certificate: %w", err)
		}
		p, err := PeerOf(s.PeerCertificates[0])
		if err == nil && p.Role != Manager {
			err = fmt.Errorf("node %s is no manager", p.Node)
		}
		return err
	}
}

func (n *Node) base() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return n.current.Load().cert, nil },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return n.current.Load().cert, nil
		},
	}
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
		opts := x509.VerifyOptions{Roots: (&CA{cert: cert}).pool(), Intermediates: x509.NewCertPool(), DNSName: string(Manager)}
		for _, cert := range s.PeerCertificates[1:] {
			opts.Intermediates.AddCert(cert)
		}
		if _, err := s.PeerCertificates[0].Verify(opts); err != nil {
			return fmt.Errorf("verify the manager's certificate: %w", err)
		}
		return nil
	}
	return errors.New("remote CA does not match fingerprint: the join token is of another cluster")
}

// roots are the certificates that the CA has others trust.
func (ca *CA) roots() []*x509.Certificate { return append([]*x509.Certificate{ca.cert}, ca.also...) }

func (ca *CA) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range ca.roots() {
		pool.AddCert(cert)
	}
	return pool
}
