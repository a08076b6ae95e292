package identity

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
)

// An authority takes over from another without a moment in which a node could
// not verify another: the old one certifies the new one's key (Certify), so that a
// certificate which the new one makes is good both for who trusts only the old and for who
// trusts both (Succeed). Once every node has such a certificate and trusts both, the old one goes.

// Certify is the certificate of next's key by this authority, PEM.
func (ca *CA) Certify(next *CA) ([]byte, error) {
	if ca.key == nil {
		return nil, errors.New("certify another CA: this one's key is not known here")
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: next.cert.Subject, RawSubject: next.cert.RawSubject, SubjectKeyId: next.cert.SubjectKeyId,
		NotBefore: next.cert.NotBefore, NotAfter: next.cert.NotAfter,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, next.cert.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("certify another CA: %w", err)
	}
	return toPEM(der, pemCert), nil
}

// Succeed is next with what it needs while it takes over from this authority: what it signs carries
// the cross certificate, and what it has others trust is both.
func (ca *CA) Succeed(next *CA, crossPEM []byte) (*CA, error) {
	certs, err := parseCerts(crossPEM)
	if err != nil {
		return nil, fmt.Errorf("read the certificate of the CA that takes over: %w", err)
	}
	return &CA{cert: next.cert, key: next.key, cross: certs[0], also: []*x509.Certificate{ca.cert}}, nil
}

// Standing is what a node's is to be that has a certificate of this authority.
func (ca *CA) Standing() string { return standing(ca.roots(), ca.cert) }

func standing(roots []*x509.Certificate, issuer *x509.Certificate) string {
	h := sha256.New()
	for _, cert := range append(roots, issuer) {
		sum := sha256.Sum256(cert.Raw)
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Same says that both have the same certificate.
func (ca *CA) Same(other *CA) bool { return bytes.Equal(ca.cert.Raw, other.cert.Raw) }
