package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	// caName is the CA's common name, and a name that managers' certificates carry
	// besides their role's, as in Swarm.
	caName = "swarm-ca"
	// caValidity is Swarm's: a cluster should outlive its machines.
	caValidity = 20 * 365 * 24 * time.Hour
	// backdate keeps a certificate valid on a node whose clock is behind.
	backdate = time.Hour
	// DefaultValidity is how long a node's certificate lasts unless the cluster's
	// spec says otherwise (NodeCertExpiry).
	DefaultValidity = 90 * 24 * time.Hour
	// MinValidity is the shortest that a cluster may ask for, as in Swarm.
	MinValidity = time.Hour

	pemCert = "CERTIFICATE"
	pemKey  = "PRIVATE KEY"
	pemCSR  = "CERTIFICATE REQUEST"
)

// CA is a cluster's certificate authority; without a key it can only verify.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes a cluster's authority.
func NewCA() (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the CA's key: %w", err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: caName},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caValidity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make the CA's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make the CA's certificate: %w", err)
	}
	return &CA{cert: cert, key: key}, nil
}

// ParseCA reads an authority; keyPEM nil makes one that can only verify.
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	der, err := unPEM(certPEM, pemCert)
	if err != nil {
		return nil, fmt.Errorf("read the CA's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the CA's certificate: %w", err)
	}
	if !cert.IsCA {
		return nil, errors.New("read the CA's certificate: it is not a CA's")
	}
	ca := &CA{cert: cert}
	if keyPEM == nil {
		return ca, nil
	}
	if ca.key, err = parseKey(keyPEM); err != nil {
		return nil, fmt.Errorf("read the CA's key: %w", err)
	}
	if !ca.key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("read the CA's key: it does not belong to the certificate")
	}
	return ca, nil
}

// CertPEM is the CA's certificate.
func (ca *CA) CertPEM() []byte { return toPEM(ca.cert.Raw, pemCert) }

// KeyPEM is the CA's key in the clear: seal it before it goes anywhere.
func (ca *CA) KeyPEM() ([]byte, error) {
	if ca.key == nil {
		return nil, errors.New("the CA's key is not known here")
	}
	return keyPEM(ca.key)
}

// Digest names the CA in join tokens: SHA-256 of the PEM in base 36.
func (ca *CA) Digest() string { return digest(ca.cert) }

func digest(cert *x509.Certificate) string {
	sum := sha256.Sum256(toPEM(cert.Raw, pemCert))
	return base36(sum[:], digestDigits)
}

// Subject and public key of the CA in DER, as GET /info and /swarm show them.
func (ca *CA) Subject() (subject, publicKey []byte) {
	return ca.cert.RawSubject, ca.cert.RawSubjectPublicKeyInfo
}

// Sign makes a node's certificate for the key of a certificate request. What
// the request says of itself is ignored: who is decided by the caller.
func (ca *CA) Sign(csrPEM []byte, who Peer, validity time.Duration) ([]byte, error) {
	if ca.key == nil {
		return nil, errors.New("sign a node certificate: the CA's key is not known here")
	}
	if err := who.check(); err != nil {
		return nil, fmt.Errorf("sign a node certificate: %w", err)
	}
	if validity < MinValidity {
		return nil, fmt.Errorf("sign a node certificate: a validity of %s is below %s", validity, MinValidity)
	}
	der, err := unPEM(csrPEM, pemCSR)
	if err != nil {
		return nil, fmt.Errorf("read a certificate request: %w", err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("read a certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("read a certificate request: %w", err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      who.subject(),
		DNSNames:     who.names(),
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if der, err = x509.CreateCertificate(rand.Reader, tmpl, ca.cert, csr.PublicKey, ca.key); err != nil {
		return nil, fmt.Errorf("sign a node certificate: %w", err)
	}
	return toPEM(der, pemCert), nil
}

func serial() *big.Int {
	var p [20]byte
	rand.Read(p[:])
	p[0] &= 0x7f // RFC 5280: positive and at most 20 octets
	return new(big.Int).SetBytes(p[:])
}

func toPEM(der []byte, kind string) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func unPEM(data []byte, kind string) ([]byte, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("no PEM block of type %s", kind)
	}
	return block.Bytes, nil
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return toPEM(der, pemKey), nil
}

func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	der, err := unPEM(data, pemKey)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a key of type %T", key)
	}
	return ec, nil
}
