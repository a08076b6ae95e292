package manager

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/nats-io/nats.go"

	"orch/internal/admission"
	"orch/internal/bus"
	"orch/internal/bus/bustest"
	"orch/internal/identity"
	"orch/internal/store"
)

const (
	thief  = "thief"  // the node whose certificate was stolen
	victim = "victim" // another node, with a task that has a secret
	loot   = "the-secret-of-the-victim"
)

// A thief has the certificate of one worker, and everything else is as in a
// cluster that runs: whatever it says or listens to, it hears what is its own and changes nothing else.
func TestAStolenWorkerCertificateOpensNothingElse(t *testing.T) {
	cluster := bustest.New(t)
	m := startWith(t, cluster, nil)
	furnish(t, m)
	stolen := cluster.Node(t, thief, identity.Worker, bustest.ClusterID)
	conn := breakIn(t, m, stolen.Client())
	awaitLeader(t, conn)

	t.Run("subscriptions", func(t *testing.T) { eavesdrop(t, m, conn) })
	t.Run("subjects", func(t *testing.T) { speakAsOthers(t, m, conn) })
	t.Run("reply subjects", func(t *testing.T) { injectReplies(t, m, conn) })
	t.Run("payloads", func(t *testing.T) { speakOfOthers(t, m, conn) })
	t.Run("ports", func(t *testing.T) { otherPorts(t, m, stolen) })
}

// furnish puts two nodes into the cluster, and a task with a secret on one of them.
func furnish(t *testing.T, m *Manager) {
	t.Helper()
	err := m.Store().Update(t.Context(), func(tx *store.Tx) error {
		for _, id := range []string{thief, victim} {
			n := &store.Node{}
			n.ID, n.Spec.Role, n.Spec.Availability = id, swarm.NodeRoleWorker, swarm.NodeAvailabilityActive
			n.Status = swarm.NodeStatus{State: swarm.NodeStateReady, Addr: "127.0.0.1"}
			tx.Put(n)
		}
		secret := &store.Secret{Sealed: m.SealSecret("s1", []byte(loot))}
		secret.ID, secret.Spec.Name = "s1", "password"
		tx.Put(secret)
		service := &store.Service{SpecVersion: 1}
		service.ID, service.Spec.Name = "sv1", "db"
		service.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "db:1", Secrets: []*swarm.SecretReference{{SecretID: "s1", SecretName: "password"}}}
		service.Spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.id==" + victim}}
		tx.Put(service)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// breakIn is a connection with the stolen certificate and no manners. What the
// server has against it is not told: the tests look at what came of it.
func breakIn(t *testing.T, m *Manager, cfg *tls.Config) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect("tls://"+m.Bus().ClientAddr(), nats.Secure(cfg), nats.TLSHandshakeFirst(), nats.CustomInboxPrefix("_INBOX."+thief),
		nats.PermissionErrOnSubscribe(true), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// awaitLeader opens the thief's own session, as it may.
func awaitLeader(t *testing.T, conn *nats.Conn) {
	t.Helper()
	body, _ := json.Marshal(bus.Session{Node: thief, Address: "127.0.0.1"})
	for deadline := time.Now().Add(10 * time.Second); ; {
		m, err := conn.Request("orch.from."+thief+".session", body, time.Second)
		if err == nil && m.Header.Get("Orch-Error") == "" {
			if bytes.Contains(m.Data, []byte(loot)) {
				t.Fatal("the thief's own set holds the victim's secret")
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the thief's own session: %v, %v", m, err)
		}
	}
}

// foreign are subjects that are not the thief's: everything there is a name for,
// with the wildcards by which one subject stands for many.
func foreign() []string {
	all := []string{
		">", "*", "*.>", "*.*.>", "orch.>", "orch.*.>", "_INBOX.>", "_INBOX.*.>", "state.>", "$SYS.>", "$JS.>", "$KV.>", "$G.>", "$SRV.>",
		"orch.to.>", "orch.to.*.assign", "orch.from.>", "orch.from.*.report", "orch.from." + thief + ".x",
		"_INBOX." + thief, "_INBOX." + thief + "x.y", "orch.to." + thief, "orch.from." + thief,
		"state.leader", "state.epoch", "state.fence", "state.founded", "state.cluster.x", "state.node." + thief, "state.task.x", "state.secret.s1", "state.claim.node-x",
		"$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.ORCH.CONNZ", "$SYS.REQ.USER.INFO", "$SYS.ACCOUNT.WORKERS.CONNECT", "$SYS.REQ.SERVER.m1.RELOAD",
		"$JS.ACK.ORCH.c.1.1.1.1.1", "$NRG.P.ORCH", "$NRG.V.x", "$JSC.CI.x", "_R_.x.y", "_GR_.x.y.z", "$GNR.x", "$LDS.x",
	}
	for _, call := range []string{
		"INFO", "ACCOUNT.PURGE.ORCH", "META.LEADER.STEPDOWN", "META.RESCUE", "SERVER.REMOVE", "STREAM.LIST", "STREAM.NAMES", "STREAM.INFO.ORCH", "STREAM.CREATE.X", "STREAM.UPDATE.ORCH",
		"STREAM.DELETE.ORCH", "STREAM.PURGE.ORCH", "STREAM.MSG.GET.ORCH", "STREAM.MSG.DELETE.ORCH", "STREAM.SNAPSHOT.ORCH", "STREAM.RESTORE.ORCH", "STREAM.LEADER.STEPDOWN.ORCH",
		"STREAM.PEER.REMOVE.ORCH", "DIRECT.GET.ORCH", "DIRECT.GET.ORCH.state.secret.s1", "CONSUMER.CREATE.ORCH", "CONSUMER.CREATE.ORCH.c.state.>", "CONSUMER.DURABLE.CREATE.ORCH.c",
		"CONSUMER.MSG.NEXT.ORCH.c", "CONSUMER.LIST.ORCH", "CONSUMER.DELETE.ORCH.c",
	} {
		all = append(all, "$JS.API."+call)
	}
	for _, node := range []string{victim, "m1", thief + "x"} {
		for _, what := range []string{"session", "beat", "report", "logs.x"} {
			all = append(all, "orch.from."+node+"."+what)
		}
		for _, what := range []string{"assign", "logs", "logack.x", "logstop.x", ">"} {
			all = append(all, "orch.to."+node+"."+what)
		}
		all = append(all, "_INBOX."+node+".x", "_INBOX."+node+".>")
	}
	return all
}

func eavesdrop(t *testing.T, m *Manager, conn *nats.Conn) {
	for _, queue := range []string{"", "q"} {
		var subs []*nats.Subscription
		var names []string
		for _, subject := range foreign() {
			if subject == "orch.from."+thief+".x" {
				continue
			}
			sub, err := conn.QueueSubscribeSync(subject, queue)
			if queue == "" {
				sub, err = conn.SubscribeSync(subject)
			}
			if err != nil {
				continue // the client itself refuses it
			}
			defer sub.Unsubscribe()
			subs, names = append(subs, sub), append(names, subject)
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		// What would be heard if anything could be: the managers' and the victim's traffic, in both accounts.
		shout(t, m)
		for i, sub := range subs {
			msg, err := sub.NextMsg(time.Second)
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("subscribe %s (queue %q): heard %v, %v; want a permission violation", names[i], queue, msg, err)
			}
		}
	}
}

// shout is traffic that is not the thief's, on each subject that has a name.
func shout(t *testing.T, m *Manager) {
	t.Helper()
	for _, conn := range []*nats.Conn{m.Bus().State(), m.Bus().Workers()} {
		for _, subject := range []string{"orch.to." + victim + ".assign", "_INBOX." + victim + ".x", "orch.from." + victim + ".logs.x"} {
			if err := conn.Publish(subject, []byte(loot)); err != nil {
				t.Fatal(err)
			}
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}

// listeners hear everything in the managers' two accounts but what is said by
// them and by the victim, who says nothing here.
func listeners(t *testing.T, m *Manager) (heard func() []string) {
	t.Helper()
	var subs []*nats.Subscription
	for _, conn := range []*nats.Conn{m.Bus().State(), m.Bus().Workers()} {
		sub, err := conn.SubscribeSync(">")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sub.Unsubscribe() })
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		subs = append(subs, sub)
	}
	return func() (all []string) {
		for _, sub := range subs {
			for {
				msg, err := sub.NextMsg(100 * time.Millisecond)
				if err != nil {
					break
				}
				if bytes.Contains(msg.Data, []byte("forged")) {
					all = append(all, msg.Subject)
				}
			}
		}
		return all
	}
}

func speakAsOthers(t *testing.T, m *Manager, conn *nats.Conn) {
	heard, before := listeners(t, m), fingerprint(m)
	for _, subject := range append(foreign(), "orch.to."+thief+".assign", "_INBOX."+thief+".x") {
		if subject == "orch.from."+thief+".x" || strings.ContainsAny(subject, "*>") {
			continue
		}
		_ = conn.Publish(subject, []byte("forged"))
		_ = conn.PublishRequest(subject, "_INBOX."+thief+".reply", []byte("forged"))
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := heard(); len(got) > 0 {
		t.Errorf("got through to %v", got)
	}
	if after := fingerprint(m); after != before {
		t.Errorf("the state was\n%s\nand is\n%s", before, after)
	}
}

// injectReplies asks what it may ask and wants the answers to go where it may not speak.
func injectReplies(t *testing.T, m *Manager, conn *nats.Conn) {
	before := fingerprint(m)
	spy, err := m.Bus().Workers().SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	defer spy.Unsubscribe()
	if err := m.Bus().Workers().Flush(); err != nil {
		t.Fatal(err)
	}
	body, _ := json.Marshal(bus.Session{Node: thief})
	replies := append(foreign(), "orch.to."+thief+".assign", "orch.from."+thief+".report", "_INBOX."+thief+".*", "_INBOX."+thief+".>", "_INBOX."+thief+".a..b")
	for _, what := range []string{"session", "beat", "report", "logs.x", "unknown"} {
		for _, reply := range replies {
			_ = conn.PublishRequest("orch.from."+thief+"."+what, reply, body)
		}
	}
	// The last question is an honest one: when it is answered, all before it have been.
	if _, err := conn.Request("orch.from."+thief+".session", body, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	for {
		msg, err := spy.NextMsg(200 * time.Millisecond)
		if err != nil {
			break
		}
		if !strings.HasPrefix(msg.Subject, "orch.from."+thief+".") && !strings.HasPrefix(msg.Subject, "_INBOX."+thief+".") {
			t.Errorf("an answer went to %s", msg.Subject)
		}
	}
	if after := fingerprint(m); after != before {
		t.Errorf("the state was\n%s\nand is\n%s", before, after)
	}
}

// speakOfOthers sends, on its own subjects, requests that are about another node.
func speakOfOthers(t *testing.T, m *Manager, conn *nats.Conn) {
	before := fingerprint(m)
	task := m.Store().View().Tasks(store.OfService("sv1"))[0].ID
	for what, body := range map[string]any{
		"session": bus.Session{Node: victim, Address: "203.0.113.1"},
		"beat":    bus.Beat{Node: victim},
		"report":  bus.Report{Node: victim, Statuses: []bus.TaskStatus{{TaskID: task, Status: swarm.TaskStatus{State: swarm.TaskStateFailed}}}},
	} {
		data, _ := json.Marshal(body)
		msg, err := conn.Request("orch.from."+thief+"."+what, data, 5*time.Second)
		if err != nil || msg.Header.Get("Orch-Error") == "" || bytes.Contains(msg.Data, []byte(loot)) {
			t.Errorf("%s for the victim: %v, %v; want a refusal", what, msg, err)
		}
	}
	// Of its own name, about a task that is another's.
	epoch := epochOf(t, conn)
	data, _ := json.Marshal(bus.Report{Node: thief, Epoch: epoch, Statuses: []bus.TaskStatus{{TaskID: task, Status: swarm.TaskStatus{State: swarm.TaskStateFailed}, Gone: true}}})
	if _, err := conn.Request("orch.from."+thief+".report", data, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if after := fingerprint(m); after != before {
		t.Errorf("the state was\n%s\nand is\n%s", before, after)
	}
}

func epochOf(t *testing.T, conn *nats.Conn) uint64 {
	t.Helper()
	body, _ := json.Marshal(bus.Session{Node: thief, Address: "127.0.0.1"})
	msg, err := conn.Request("orch.from."+thief+".session", body, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var a bus.Assignments
	if err := json.Unmarshal(msg.Data, &a); err != nil {
		t.Fatal(err)
	}
	return a.Epoch
}

// otherPorts tries to pass for a manager where managers meet, and to have the
// certificate renewed into more than it is.
func otherPorts(t *testing.T, m *Manager, stolen *identity.Node) {
	// The route port speaks NATS first and TLS then.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := nats.Connect("tls://"+m.Bus().RouteAddr(), nats.Secure(stolen.Client()), nats.Timeout(2*time.Second)); err == nil {
		t.Error("let in among the managers")
	}
	request, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := admission.Renew(ctx, m.admit.Addr().String(), stolen, request.CSR())
	if err != nil {
		t.Fatal(err)
	}
	key, _ := request.KeyPEM()
	if err := stolen.Renew(signed.Cert, key); err != nil {
		t.Fatal(err)
	}
	if p := stolen.Peer(); p.Node != thief || p.Role != identity.Worker {
		t.Errorf("renewed into %+v", p)
	}
}

// fingerprint is everything in the state that is not the thief's own node.
func fingerprint(m *Manager) string {
	v := m.Store().View()
	var lines []string
	for _, n := range v.Nodes(store.All()) {
		if n.ID != thief {
			lines = append(lines, fmt.Sprintf("node %s %d %s", n.ID, n.Version.Index, n.Status.Addr))
		}
	}
	for _, s := range v.Secrets(store.All()) {
		lines = append(lines, fmt.Sprintf("secret %s %d", s.ID, s.Version.Index))
	}
	for _, s := range v.Services(store.All()) {
		lines = append(lines, fmt.Sprintf("service %s %d", s.ID, s.Version.Index))
	}
	for _, task := range v.Tasks(store.All()) {
		lines = append(lines, fmt.Sprintf("task %s %s on %s", task.ID, task.Status.State, task.NodeID))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
