package identity

import (
	"os"
	"path/filepath"
	"testing"
)

// nodeOf is a node that has a certificate of issuer and trusts trust.
func nodeOf(t *testing.T, issuer, trust *CA, role Role) *Node {
	t.Helper()
	r, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := issuer.Sign(r.CSR(), Peer{Node: "n", Role: role, Cluster: "c"}, DefaultValidity)
	if err != nil {
		t.Fatal(err)
	}
	key, err := r.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	// As it travels: only PEM, and no key.
	if trust, err = ParseCA(trust.TrustPEM(), nil); err != nil {
		t.Fatal(err)
	}
	n, err := NewNode(trust, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// At each step of a rotation, a node that has taken it and one that has not accept each other;
// who was left two steps behind is a stranger.
func TestNodesAcceptEachOtherThroughoutARotation(t *testing.T) {
	old, next := newCA(t), newCA(t)
	cross, err := old.Certify(next)
	if err != nil {
		t.Fatal(err)
	}
	both, err := old.Succeed(next, cross)
	if err != nil {
		t.Fatal(err)
	}
	before := func(r Role) *Node { return nodeOf(t, old, old, r) }
	during := func(r Role) *Node { return nodeOf(t, both, both, r) }
	after := func(r Role) *Node { return nodeOf(t, next, next, r) }
	late := func(r Role) *Node { return nodeOf(t, both, next, r) } // trusts the new one only, with the certificate of before
	for _, c := range []struct {
		name string
		a, b func(Role) *Node
		want bool
	}{
		{"before, before", before, before, true},
		{"before, during", before, during, true},
		{"during, during", during, during, true},
		{"during, after", during, after, true},
		{"during, late", during, late, true},
		{"after, late", after, late, true},
		{"before, after", before, after, false},
	} {
		for _, way := range []struct {
			name         string
			server, node *Node
		}{{"->", c.b(Manager), c.a(Worker)}, {"<-", c.a(Manager), c.b(Worker)}} {
			if err := handshake(t, way.server.Server(), way.node.Client()); (err == nil) != c.want {
				t.Errorf("%s %s: %v, want success %v", c.name, way.name, err, c.want)
			}
		}
		if err := handshake(t, c.a(Manager).Route(), c.b(Manager).Route()); (err == nil) != c.want {
			t.Errorf("%s among managers: %v, want success %v", c.name, err, c.want)
		}
	}
	// A machine that joins has the old token until the end.
	if err := handshake(t, during(Manager).Admission(), Join(NewToken(old))); err != nil {
		t.Errorf("join in between: %v", err)
	}
	if err := handshake(t, during(Manager).Admission(), Join(NewToken(newCA(t)))); err == nil {
		t.Error("joined the cluster of another token")
	}
	if during(Worker).Standing() != both.Standing() || before(Worker).Standing() == both.Standing() || late(Worker).Standing() != next.Standing() {
		t.Error("a node's standing is not what it has and trusts")
	}
}

// Configurations made before a change of trust follow it.
func TestListenersFollowTheTrustOfTheirNode(t *testing.T) {
	old, next := newCA(t), newCA(t)
	manager := nodeOf(t, old, old, Manager)
	server, route := manager.Server(), manager.Route()
	worker, peer := nodeOf(t, next, next, Worker), nodeOf(t, next, next, Manager)
	if handshake(t, server, worker.Client()) == nil {
		t.Fatal("a stranger was let in")
	}
	r, _ := NewRequest()
	cert, err := next.Sign(r.CSR(), Peer{Node: "m", Role: Manager, Cluster: "c"}, DefaultValidity)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := r.KeyPEM()
	if err := manager.Adopt(next, cert, key); err != nil {
		t.Fatal(err)
	}
	if err := handshake(t, server, worker.Client()); err != nil {
		t.Errorf("a worker of the new CA: %v", err)
	}
	if err := handshake(t, route, peer.Route()); err != nil {
		t.Errorf("a manager of the new CA: %v", err)
	}
	if handshake(t, server, nodeOf(t, old, old, Worker).Client()) == nil {
		t.Error("a node of the old CA was let in")
	}
}

func TestKeysOfOtherToolsAreRead(t *testing.T) {
	file := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join("testdata", name)) // made with openssl, for nobody
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, name := range []string{"ec", "rsa"} { // in SEC 1 and in PKCS 1
		ca, err := ParseCA(file(name+".crt"), file(name+".key"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := handshake(t, nodeOf(t, ca, ca, Manager).Server(), nodeOf(t, ca, ca, Worker).Client()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := ParseCA(file(name+".crt"), file("no.key")); err == nil {
			t.Errorf("%s: another key was taken", name)
		}
	}
}
