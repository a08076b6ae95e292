package bus

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"orch/internal/identity"
)

const cluster = "cluster1"

func TestMain(m *testing.M) {
	slog.SetLogLoggerLevel(slog.LevelError)
	goleak.VerifyTestMain(m,
		// The server starts these once per process and never ends them.
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.init.0.func1"))
}

// fleet is a cluster's identities and the server of its manager.
type fleet struct {
	ca     *identity.CA
	config ServerConfig
	*Server
}

func newFleet(t testing.TB) *fleet {
	t.Helper()
	ca, err := identity.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{ca: ca}
	manager := f.node(t, "m1", identity.Manager, cluster)
	f.config = ServerConfig{
		NodeID: "m1", ClusterID: cluster, Dir: t.TempDir(), ClientAddr: "127.0.0.1:0", RouteAddr: "127.0.0.1:0",
		ServerTLS: manager.Server(), RouteTLS: manager.Route(), Founding: true, Log: testLog(),
	}
	return f
}

func testLog() *slog.Logger {
	level := slog.LevelError
	if os.Getenv("ORCH_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

func (f *fleet) start(t testing.TB) {
	t.Helper()
	s, err := Start(context.Background(), f.config)
	if err != nil {
		t.Fatal(err)
	}
	f.Server = s
	t.Cleanup(func() { s.Shutdown(context.Background()) })
}

func (f *fleet) node(t testing.TB, id string, role identity.Role, cluster string) *identity.Node {
	t.Helper()
	req, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := f.ca.Sign(req.CSR(), identity.Peer{Node: id, Role: role, Cluster: cluster}, identity.DefaultValidity)
	if err != nil {
		t.Fatal(err)
	}
	key, err := req.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	n, err := identity.NewNode(f.ca, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestStateSurvivesRestart(t *testing.T) {
	f := newFleet(t)
	began := time.Now()
	f.start(t)
	t.Logf("first start: %s", time.Since(began))
	put(t, f.Server, "task.a", "1")
	for range 3 {
		if err := f.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		f.start(t)
		t.Logf("restart: %s", time.Since(began))
		js, err := jetstream.New(f.State())
		if err != nil {
			t.Fatal(err)
		}
		stream, err := js.Stream(t.Context(), StateStream)
		if err != nil {
			t.Fatal(err)
		}
		msg, err := stream.GetLastMsgForSubject(t.Context(), StateSubject("task.a"))
		if err != nil || string(msg.Data) != "1" {
			t.Fatalf("after the restart: %v, %v", msg, err)
		}
	}
}

func put(t testing.TB, s *Server, key, value string) {
	t.Helper()
	js, err := jetstream.New(s.State())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(context.Background(), StateSubject(key), []byte(value)); err != nil {
		t.Fatal(err)
	}
}
