package bus_test

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"orch/internal/bus"
	"orch/internal/bus/bustest"
	"orch/internal/identity"
)

// raw is a connection with a node's certificate and none of WorkerConn's manners.
func raw(t *testing.T, s *bus.Server, cfg *tls.Config, opts ...nats.Option) (*nats.Conn, error) {
	t.Helper()
	opts = append(opts, nats.Secure(cfg), nats.TLSHandshakeFirst(), nats.NoReconnect(), nats.PermissionErrOnSubscribe(true),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	conn, err := nats.Connect("tls://"+s.ClientAddr(), opts...)
	if err == nil {
		t.Cleanup(conn.Close)
	}
	return conn, err
}

func TestWhoIsRefused(t *testing.T) {
	c, foreign := bustest.New(t), bustest.New(t)
	s := c.Start(t)
	forged := c.Node(t, "w1", identity.Worker, bustest.ClusterID).Client()
	forged.GetClientCertificate = foreign.Node(t, "w1", identity.Worker, bustest.ClusterID).Client().GetClientCertificate
	none := c.Node(t, "w1", identity.Worker, bustest.ClusterID).Client()
	none.GetClientCertificate = nil
	for name, cfg := range map[string]*tls.Config{
		"another CA":             forged,
		"no certificate":         none,
		"another cluster's name": c.Node(t, "w1", identity.Worker, "other").Client(),
	} {
		if _, err := raw(t, s, cfg); err == nil {
			t.Errorf("%s: let in", name)
		}
	}
	good := c.Node(t, "w1", identity.Worker, bustest.ClusterID).Client()
	if _, err := raw(t, s, good); err != nil {
		t.Errorf("a worker: %v", err)
	}
	// A guessed token is worth nothing over the network.
	if _, err := raw(t, s, none, nats.Token("x")); err == nil {
		t.Error("a token without a certificate: let in")
	}
}

func TestWorkerMayOnlySpeakAsItself(t *testing.T) {
	c := bustest.New(t)
	s := c.Start(t)
	for _, role := range []identity.Role{identity.Worker, identity.Manager} {
		t.Run(string(role), func(t *testing.T) {
			conn, err := raw(t, s, c.Node(t, "w1", role, bustest.ClusterID).Client())
			if err != nil {
				t.Fatal(err)
			}
			spy, err := s.Workers().SubscribeSync(">")
			if err != nil {
				t.Fatal(err)
			}
			defer spy.Unsubscribe()
			if err := s.Workers().Flush(); err != nil {
				t.Fatal(err)
			}
			for _, subject := range []string{
				"orch.from.w2.report", "orch.to.w1.assign", "orch.to.w2.assign", "_INBOX.w2.x", "state.task.x",
				"$JS.API.INFO", "$JS.API.STREAM.DELETE.ORCH", "$SYS.REQ.SERVER.PING", "orch.from.w1.beat",
			} {
				if err := conn.Publish(subject, nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := conn.Flush(); err != nil {
				t.Fatal(err)
			}
			// Only the last, its own, may have got through.
			if m, err := spy.NextMsg(5 * time.Second); err != nil || m.Subject != "orch.from.w1.beat" {
				t.Errorf("got through: %v, %v", m, err)
			}
			for _, subject := range []string{"orch.to.w2.>", "orch.from.>", "orch.to.*.assign", "_INBOX.>", "_INBOX.w2.>", ">", "state.>", "$SYS.>"} {
				sub, err := conn.SubscribeSync(subject)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := sub.NextMsg(2 * time.Second); !errors.Is(err, nats.ErrPermissionViolation) {
					t.Errorf("subscribe %s: %v, want a permission violation", subject, err)
				}
			}
		})
	}
}

// Permissions do not cover the reply subject of a request, and what answers it
// publishes with its own rights.
func TestReplySubjectsOfOthersGetNoAnswer(t *testing.T) {
	c := bustest.New(t)
	s := c.Start(t)
	asked := make(chan string, 10)
	serve(t, s, bus.Handlers{
		Beat: func(_ context.Context, b bus.Beat) (bus.Reply, error) { asked <- b.Node; return bus.Reply{}, nil },
	})
	victim := dial(t, c, s, "w2")
	eventually(t, func(ctx context.Context) error { _, err := victim.Beat(ctx, bus.Beat{}); return err })
	<-asked
	conn, err := raw(t, s, c.Node(t, "w1", identity.Worker, bustest.ClusterID).Client(), nats.CustomInboxPrefix("_INBOX.w1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{"orch.to.w2.assign", "_INBOX.w2.x", "_INBOX.w1", "_INBOX.w1x.y", "state.task.x", "orch.from.w2.report"} {
		if err := conn.PublishRequest("orch.from.w1.beat", reply, []byte(`{"Node":"w1"}`)); err != nil {
			t.Fatal(err)
		}
	}
	// A payload that speaks of another node is refused, too, with an answer.
	m, err := conn.Request("orch.from.w1.beat", []byte(`{"Node":"w2"}`), 5*time.Second)
	if err != nil || m.Header.Get("Orch-Error") == "" {
		t.Errorf("speaking for another node: %v, %v", m, err)
	}
	if _, err := conn.Request("orch.from.w1.beat", []byte(`{"Node":"w1"}`), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if node := <-asked; node != "w1" || len(asked) != 0 {
		t.Errorf("requests with others' reply subjects were handled: %s and %d more", node, len(asked))
	}
	if a, err := victim.Next(withTimeout(t, 100*time.Millisecond)); err == nil {
		t.Errorf("the victim was told %+v", a)
	}
}
