package daemon

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/identity"
)

// Two machines, whose CA is replaced under them: by a new one, and then by one
// that the user brings. Neither loses the other for a moment.
func TestTheCAIsReplacedWhileTheClusterRuns(t *testing.T) {
	m, w := newMachine(t), newMachine(t)
	addr := m.initAt()
	var before swarm.Swarm
	m.must("GET", "/swarm", "", &before)
	w.must("POST", "/swarm/join", fmt.Sprintf(`{"RemoteAddrs":[%q],"JoinToken":%q,"ListenAddr":"127.0.0.1:0"}`, addr, before.JoinTokens.Worker), nil)
	m.awaitReady(2)

	m.updateSwarm("", func(s *swarm.Spec) { s.CAConfig.ForceRotate++ })
	after := m.awaitRotated(before.TLSInfo.TrustRoot)
	if strings.Count(after.TLSInfo.TrustRoot, "BEGIN CERTIFICATE") != 1 || after.JoinTokens.Worker == before.JoinTokens.Worker || after.JoinTokens.Manager == before.JoinTokens.Manager {
		t.Errorf("afterwards: %+v", after)
	}
	third := newMachine(t)
	join := func(token string) (int, string) {
		return third.call("POST", "/swarm/join", fmt.Sprintf(`{"RemoteAddrs":[%q],"JoinToken":%q,"ListenAddr":"127.0.0.1:0"}`, addr, token))
	}
	if status, body := join(before.JoinTokens.Worker); status != 400 || !strings.Contains(body, "remote CA does not match fingerprint") {
		t.Errorf("join with the token of before: %d %s", status, body)
	}
	if status, body := join(after.JoinTokens.Worker); status != 200 {
		t.Errorf("join with the new token: %d %s", status, body)
	}

	given, err := identity.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	key, _ := given.KeyPEM()
	m.updateSwarm("", func(s *swarm.Spec) {
		s.CAConfig.SigningCACert, s.CAConfig.SigningCAKey = string(given.CertPEM()), string(key)
		s.CAConfig.ForceRotate++
	})
	if last := m.awaitRotated(after.TLSInfo.TrustRoot); last.TLSInfo.TrustRoot != string(given.CertPEM()) || last.Spec.CAConfig.SigningCAKey != "" {
		t.Errorf("the given CA: %+v", last.ClusterInfo)
	}
	m.restart()
	w.restart()
	m.awaitReady(3)
	for name, text := range map[string]string{"manager": m.log.String(), "worker": w.log.String()} {
		if strings.Contains(text, "a node is down") || strings.Contains(text, "PRIVATE KEY") {
			t.Errorf("the %s's log:\n%s", name, text)
		}
	}
}

func TestWhatACAMayNotBe(t *testing.T) {
	m := newMachine(t)
	m.init("")
	ca, err := identity.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	other, _ := identity.NewCA()
	key, _ := other.KeyPEM()
	for want, change := range map[string]func(*swarm.CAConfig){
		"its key must also be provided":             func(c *swarm.CAConfig) { c.SigningCACert = string(ca.CertPEM()) },
		"the signing CA cert must also be provided": func(c *swarm.CAConfig) { c.SigningCAKey = string(key) },
		"it does not belong to the certificate":     func(c *swarm.CAConfig) { c.SigningCACert, c.SigningCAKey = string(ca.CertPEM()), string(key) },
		"no PEM block of type CERTIFICATE":          func(c *swarm.CAConfig) { c.SigningCACert, c.SigningCAKey = "x", string(key) },
		"minimum certificate expiry time is: 1h0m":  func(c *swarm.CAConfig) { c.NodeCertExpiry = time.Minute },
	} {
		status, body := m.tryUpdate("", func(s *swarm.Spec) { change(&s.CAConfig) })
		if status != 400 || !strings.Contains(body, want) || bytes.Contains([]byte(body), key) {
			t.Errorf("%s: %d %s", want, status, body)
		}
	}
}

func TestNodeCertificatesLastAsLongAsTheClusterSays(t *testing.T) {
	m := newMachine(t)
	m.init(`,"Spec":{"CAConfig":{"NodeCertExpiry":7200000000000}}`)
	f := files{dir: m.dataDir()}
	box, err := openStrongbox(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := f.read(box, nodeFile, nodeUse)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(pair)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(cert.NotAfter); left > 2*time.Hour || left < time.Hour {
		t.Errorf("the certificate lasts for another %s", left)
	}
}

// initAt founds a cluster that others can reach, and returns where.
func (m *machine) initAt() string {
	m.t.Helper()
	for try := 0; ; try++ {
		addr := threePorts(m.t)
		status, body := m.call("POST", "/swarm/init", fmt.Sprintf(`{"ListenAddr":%q,"AdvertiseAddr":%[1]q}`, addr))
		if status == 200 {
			return addr
		}
		if try == 3 { // somebody else took a port in between
			m.t.Fatalf("init: %d %s", status, body)
		}
	}
}

// threePorts is an address whose port and the two above it are free.
func threePorts(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port, free := l.Addr().(*net.TCPAddr).Port, true
		for i := 1; i <= 2 && free; i++ {
			above, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+i))
			if free = err == nil; free {
				above.Close()
			}
		}
		l.Close()
		if free {
			return fmt.Sprintf("127.0.0.1:%d", port)
		}
	}
	t.Fatal("no three free ports in a row")
	return ""
}

func (m *machine) awaitReady(nodes int) {
	m.t.Helper()
	m.await(fmt.Sprintf("%d nodes to be ready", nodes), func() bool {
		status, body := m.call("GET", "/nodes", "")
		return status == 200 && strings.Count(body, `"State":"ready"`) == nodes
	})
}

// awaitRotated waits until every node has a certificate of, and trusts, the cluster's CA
// alone, and that is not old.
func (m *machine) awaitRotated(old string) (s swarm.Swarm) {
	m.t.Helper()
	m.await("the CA to be replaced", func() bool {
		s = swarm.Swarm{}
		m.must("GET", "/swarm", "", &s)
		if s.RootRotationInProgress || s.TLSInfo.TrustRoot == old {
			return false
		}
		var nodes []swarm.Node
		m.must("GET", "/nodes", "", &nodes)
		for _, n := range nodes {
			info := n.Description.TLSInfo
			if info.TrustRoot != s.TLSInfo.TrustRoot || !bytes.Equal(info.CertIssuerPublicKey, s.TLSInfo.CertIssuerPublicKey) {
				return false
			}
		}
		return true
	})
	return s
}
