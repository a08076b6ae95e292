// Package bustest makes clusters for tests: real servers, real certificates, on
// the loopback interface.
package bustest

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"orch/internal/bus"
	"orch/internal/identity"
)

// ClusterID is that of every cluster made here.
const ClusterID = "testcluster"

// key encrypts the servers' directories, as it is in every cluster.
const key = "0123456789abcdef0123456789abcdef"

// Cluster is a cluster's authority and the configuration of its one manager.
type Cluster struct {
	CA     *identity.CA
	Config bus.ServerConfig
}

// New is a cluster whose manager m1 has not been started.
func New(t testing.TB) *Cluster {
	t.Helper()
	ca, err := identity.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{CA: ca}
	manager := c.Node(t, "m1", identity.Manager, ClusterID)
	c.Config = bus.ServerConfig{
		NodeID: "m1", ClusterID: ClusterID, Dir: t.TempDir(), Key: key,
		ClientAddr: "127.0.0.1:0", RouteAddr: "127.0.0.1:0",
		ServerTLS: manager.Server(), RouteTLS: manager.Route(), Founding: true, Log: logger(),
	}
	return c
}

// Start runs the manager; it ends with the test.
func (c *Cluster) Start(t testing.TB) *bus.Server {
	t.Helper()
	s, err := bus.Start(context.Background(), c.Config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Stop(t, s) })
	return s
}

// Joiner is the configuration of a further manager that joins those at the routes.
func (c *Cluster) Joiner(t testing.TB, id string, routes ...string) bus.ServerConfig {
	t.Helper()
	manager := c.Node(t, id, identity.Manager, ClusterID)
	return bus.ServerConfig{
		NodeID: id, ClusterID: ClusterID, Dir: t.TempDir(), Key: key, ClientAddr: "127.0.0.1:0", RouteAddr: "127.0.0.1:0",
		ServerTLS: manager.Server(), RouteTLS: manager.Route(), Routes: routes, Joining: true, Log: logger(),
	}
}

// Stop ends a server and waits for that.
func Stop(t testing.TB, s *bus.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// Node makes the identity of a node.
func (c *Cluster) Node(t testing.TB, id string, role identity.Role, cluster string) *identity.Node {
	t.Helper()
	req, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := c.CA.Sign(req.CSR(), identity.Peer{Node: id, Role: role, Cluster: cluster}, identity.DefaultValidity)
	if err != nil {
		t.Fatal(err)
	}
	key, err := req.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	n, err := identity.NewNode(c.CA, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// logger shows the server's lines when ORCH_TEST_LOG is set.
func logger() *slog.Logger {
	level := slog.LevelError
	if os.Getenv("ORCH_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
