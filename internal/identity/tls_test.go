package identity

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestWhoMayConnect(t *testing.T) {
	ca, foreign := newCA(t), newCA(t)
	manager, worker := newNode(t, ca, Manager), newNode(t, ca, Worker)
	stranger := newNode(t, foreign, Manager)
	noCert := manager.Client()
	noCert.GetClientCertificate = nil
	// A stranger who trusts the cluster, so that it is the server that must refuse.
	forged := manager.Client()
	forged.GetClientCertificate = stranger.Client().GetClientCertificate
	forgedRoute := manager.Route()
	forgedRoute.GetClientCertificate = stranger.Route().GetClientCertificate
	// A server that does not ask for certificates, for the first contact of a joiner.
	open := manager.Server()
	open.ClientAuth = tls.NoClientCert

	for name, c := range map[string]struct {
		server, client *tls.Config
		ok             bool
	}{
		"worker to manager":             {manager.Server(), worker.Client(), true},
		"manager to manager":            {manager.Server(), manager.Client(), true},
		"no certificate":                {manager.Server(), noCert, false},
		"another cluster's certificate": {manager.Server(), forged, false},
		"worker posing as manager":      {worker.Server(), worker.Client(), false},
		"route among managers":          {manager.Route(), manager.Route(), true},
		"worker on the route port":      {manager.Route(), worker.Route(), false},
		"route to a worker":             {worker.Route(), manager.Route(), false},
		"another cluster's route":       {manager.Route(), forgedRoute, false},
		"join with the token":           {open, Join(NewToken(ca)), true},
		"join with another's token":     {open, Join(NewToken(foreign)), false},
		"join at a worker":              {func() *tls.Config { c := worker.Server(); c.ClientAuth = tls.NoClientCert; return c }(), Join(NewToken(ca)), false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := handshake(t, c.server, c.client); (err == nil) != c.ok {
				t.Errorf("handshake: %v, want ok %v", err, c.ok)
			}
		})
	}
}

// handshake is the first error of either side; over TLS 1.3 a client learns
// that it was refused only by its first read.
func handshake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	a, b := net.Pipe()
	deadline := time.Now().Add(10 * time.Second)
	a.SetDeadline(deadline)
	b.SetDeadline(deadline)
	srv, cli := tls.Server(a, server), tls.Client(b, client)
	served := make(chan error, 1)
	go func() {
		err := srv.Handshake()
		if err == nil {
			_, err = srv.Write([]byte("x"))
		}
		a.Close()
		served <- err
	}()
	err := cli.Handshake()
	if err == nil {
		_, err = cli.Read(make([]byte, 1))
	}
	b.Close()
	if serr := <-served; serr != nil {
		return serr
	}
	return err
}

func TestRenewedCertificateIsUsedByOldConfigurations(t *testing.T) {
	ca := newCA(t)
	n := newNode(t, ca, Worker)
	cfg := n.Route()
	if err := handshake(t, newNode(t, ca, Manager).Route(), cfg); err == nil {
		t.Fatal("a worker got through")
	}
	cert, key := certify(t, ca, Peer{Node: n.Peer().Node, Role: Manager, Cluster: "c"})
	if err := n.Renew(cert, key); err != nil {
		t.Fatal(err)
	}
	if err := handshake(t, newNode(t, ca, Manager).Route(), cfg); err != nil {
		t.Fatalf("after promotion: %v", err)
	}
	foreignCert, foreignKey := certify(t, newCA(t), n.Peer())
	if err := n.Renew(foreignCert, foreignKey); err == nil {
		t.Error("another CA's certificate was taken")
	}
	if half := time.Until(n.RenewAt()); half < 44*24*time.Hour || half > 46*24*time.Hour {
		t.Errorf("renewal in %s, want half of 90 days", half)
	}
}

func TestSignRefuses(t *testing.T) {
	ca := newCA(t)
	req, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	good := Peer{Node: "n", Role: Worker, Cluster: "c"}
	for name, c := range map[string]struct {
		csr      []byte
		peer     Peer
		validity time.Duration
	}{
		"wildcard in the node": {req.CSR(), Peer{Node: "*", Role: Worker, Cluster: "c"}, DefaultValidity},
		"dot in the node":      {req.CSR(), Peer{Node: "a.b", Role: Worker, Cluster: "c"}, DefaultValidity},
		"unknown role":         {req.CSR(), Peer{Node: "n", Role: "root", Cluster: "c"}, DefaultValidity},
		"no cluster":           {req.CSR(), Peer{Node: "n", Role: Worker}, DefaultValidity},
		"too short":            {req.CSR(), good, time.Minute},
		"no request":           {[]byte("junk"), good, DefaultValidity},
	} {
		if _, err := ca.Sign(c.csr, c.peer, c.validity); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

func TestCARoundTrip(t *testing.T) {
	ca := newCA(t)
	key, err := ca.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseCA(ca.CertPEM(), key)
	if err != nil {
		t.Fatal(err)
	}
	if back.Digest() != ca.Digest() {
		t.Error("the digest changed")
	}
	if _, err := ParseCA(newCA(t).CertPEM(), key); err == nil {
		t.Error("a key of another CA was taken")
	}
	if _, err := ParseCA(ca.CertPEM(), nil); err != nil {
		t.Errorf("a CA without its key: %v", err)
	}
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	for _, content := range []string{"one", "two"} {
		if err := WriteFile(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Fatalf("read back %q, %v", got, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
	if err := WriteFile(filepath.Join(path, "below"), nil); err == nil {
		t.Error("writing below a file succeeded")
	}
}

func newCA(t *testing.T) *CA {
	t.Helper()
	ca, err := NewCA()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newNode(t *testing.T, ca *CA, role Role) *Node {
	t.Helper()
	cert, key := certify(t, ca, Peer{Node: NewID(), Role: role, Cluster: "c"})
	n, err := NewNode(ca, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func certify(t *testing.T, ca *CA, p Peer) (cert, key []byte) {
	t.Helper()
	req, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = ca.Sign(req.CSR(), p, DefaultValidity); err != nil {
		t.Fatal(err)
	}
	if key, err = req.KeyPEM(); err != nil {
		t.Fatal(err)
	}
	return cert, key
}
