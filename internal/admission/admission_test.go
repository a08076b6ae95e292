package admission_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"orch/internal/admission"
	"orch/internal/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clerk admits whoever shows the right token.
type clerk struct {
	ca    *identity.CA
	token identity.Token
	gone  string // a node that is renewed no more
}

func (c clerk) Admit(_ context.Context, r admission.Request, from net.IP) (admission.Grant, error) {
	shown, err := identity.ParseToken(r.Token)
	if err != nil || !shown.Equal(c.token) {
		return admission.Grant{}, errors.New("A valid join token is necessary to join this cluster")
	}
	cert, err := c.ca.Sign(r.CSR, identity.Peer{Node: "w1", Role: identity.Worker, Cluster: "c"}, identity.DefaultValidity)
	return admission.Grant{NodeID: "w1", ClusterID: "c", CA: c.ca.CertPEM(), Cert: cert, Managers: []string{from.String() + ":2378"}}, err
}

func (c clerk) Enrol(_ context.Context, who identity.Peer, e admission.Enrolment) (admission.Warrant, error) {
	if e.Addr == "busy" {
		return admission.Warrant{}, fmt.Errorf("%w: another is joining", admission.ErrLater)
	}
	return admission.Warrant{Server: who.Node + "-1", Seal: []byte("seal")}, nil
}

func (c clerk) Renew(_ context.Context, who identity.Peer, csr []byte) (identity.Signed, error) {
	if who.Node == c.gone {
		return identity.Signed{}, errors.New("the node is not part of the cluster")
	}
	cert, err := c.ca.Sign(csr, who, identity.DefaultValidity)
	return identity.Signed{Cert: cert, Trust: c.ca.TrustPEM()}, err
}

// office is a manager's first port.
func office(t *testing.T) (addr string, c *clerk) {
	t.Helper()
	ca, err := identity.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	c = &clerk{ca: ca, token: identity.NewToken(ca)}
	manager := node(t, ca, identity.Peer{Node: "m1", Role: identity.Manager, Cluster: "c"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- admission.Serve(ctx, l, manager, c) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String(), c
}

func node(t *testing.T, ca *identity.CA, who identity.Peer) *identity.Node {
	t.Helper()
	r, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Sign(r.CSR(), who, identity.DefaultValidity)
	if err != nil {
		t.Fatal(err)
	}
	return pair(t, ca, cert, r)
}

func pair(t *testing.T, ca *identity.CA, cert []byte, r *identity.Request) *identity.Node {
	t.Helper()
	key, err := r.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	n, err := identity.NewNode(ca, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMachineWithTheTokenBecomesANodeAndRenews(t *testing.T) {
	addr, c := office(t)
	r, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	grant, err := admission.Join(t.Context(), addr, c.token, admission.Request{Token: c.token.Reveal(), CSR: r.CSR()})
	if err != nil {
		t.Fatal(err)
	}
	if grant.NodeID != "w1" || grant.Managers[0] != "127.0.0.1:2378" {
		t.Errorf("grant: %+v", grant)
	}
	ca, err := identity.ParseCA(grant.CA, nil)
	if err != nil {
		t.Fatal(err)
	}
	n := pair(t, ca, grant.Cert, r)
	if who := n.Peer(); who != (identity.Peer{Node: "w1", Role: identity.Worker, Cluster: "c"}) {
		t.Errorf("the certificate says %+v", who)
	}
	fresh, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := admission.Renew(t.Context(), addr, n, fresh.CSR())
	if err != nil {
		t.Fatal(err)
	}
	if who := pair(t, ca, signed.Cert, fresh).Peer(); who.Node != "w1" {
		t.Errorf("renewed for %+v", who)
	}
	c.gone = "w1"
	if _, err := admission.Renew(t.Context(), addr, n, fresh.CSR()); err == nil || !strings.Contains(err.Error(), "not part of the cluster") {
		t.Errorf("a removed node's renewal: %v", err)
	}
}

func TestJoinIsRefused(t *testing.T) {
	addr, c := office(t)
	r, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := identity.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		pin  identity.Token
		show string
		want string
	}{
		"with another secret":        {c.token, identity.NewToken(c.ca).Reveal(), "A valid join token is necessary"},
		"with no token at all":       {c.token, "", "A valid join token is necessary"},
		"by another cluster's token": {identity.NewToken(foreign), c.token.Reveal(), "does not match fingerprint"},
	} {
		_, err := admission.Join(t.Context(), addr, x.pin, admission.Request{Token: x.show, CSR: r.CSR()})
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", name, err, x.want)
		}
	}
}

// Without a certificate of the cluster nobody's certificate is renewed.
func TestStrangerRenewsNothing(t *testing.T) {
	addr, _ := office(t)
	foreign, err := identity.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	stranger := node(t, foreign, identity.Peer{Node: "m1", Role: identity.Manager, Cluster: "c"})
	r, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admission.Renew(t.Context(), addr, stranger, r.CSR()); err == nil {
		t.Error("a stranger had a certificate renewed")
	}
}
