package identity

import (
	"crypto"
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
	key  crypto.Signer
	// also are roots that are trusted besides, while one authority takes over from another.
	also []*x509.Certificate
	// cross is cert's key certified by the authority before, for who trusts only that one yet.
	cross *x509.Certificate
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

// ParseCA reads an authority; keyPEM nil makes one that can only verify. Certificates after
// the first are trusted as well.
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	certs, err := parseCerts(certPEM)
	if err != nil {
		return nil, fmt.Errorf("read the CA's certificate: %w", err)
	}
	for _, cert := range certs {
		if !cert.IsCA {
			return nil, errors.New("read the CA's certificate: it is not a CA's")
		}
	}
	ca := &CA{cert: certs[0], also: certs[1:]}
	if keyPEM == nil {
		return ca, nil
	}
	if ca.key, err = parseKey(keyPEM); err != nil {
		return nil, fmt.Errorf("read the CA's key: %w", err)
	}
	if !isKeyOf(ca.key, ca.cert) {
		return nil, errors.New("read the CA's key: it does not belong to the certificate")
	}
	return ca, nil
}

// CertPEM is the CA's certificate.
func (ca *CA) CertPEM() []byte { return toPEM(ca.cert.Raw, pemCert) }

// TrustPEM is everything that is trusted, the CA's own certificate first: what ParseCA reads.
func (ca *CA) TrustPEM() []byte {
	out := ca.CertPEM()
	for _, cert := range ca.also {
		out = append(out, toPEM(cert.Raw, pemCert)...)
	}
	return out
}

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
	out := toPEM(der, pemCert)
	if ca.cross != nil {
		out = append(out, toPEM(ca.cross.Raw, pemCert)...)
	}
	return out, nil
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

func parseCerts(data []byte) (certs []*x509.Certificate, err error) {
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != pemCert {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("no PEM block of type %s", pemCert)
	}
	return certs, nil
}

func isKeyOf(key crypto.Signer, cert *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return toPEM(der, pemKey), nil
}

// parseKey reads a key in each of the forms in which tools write one that can sign. Errors never quote it.
func parseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("no PEM block of type %s", pemKey)
	}
	var key any
	var err error
	switch block.Type {
	case pemKey:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a PEM block of type %.40q is no key in the clear", block.Type)
	}
	if err != nil {
		return nil, errors.New("the key is damaged")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	return signer, nil
}
