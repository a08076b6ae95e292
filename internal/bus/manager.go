package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
)

const (
	// maxHandlers is how many workers are answered at a time; the others wait.
	maxHandlers = 256
	// handleTimeout bounds one answer; a worker asks again.
	handleTimeout = 15 * time.Second
)

// Handlers are the leader's answers to workers. They run concurrently; Node is
// set to who really asks. A report is answered once it is stored.
type Handlers struct {
	Session func(context.Context, Session) (Assignments, error)
	Beat    func(context.Context, Beat) (Reply, error)
	Report  func(context.Context, Report) (Reply, error)
	// Attach gives a container of a node a place on a network, Attached hears which places are held.
	Attach   func(context.Context, AttachRequest) (Attachment, error)
	Attached func(context.Context, Attached) (Reply, error)
	// Image brings a task's image from another node.
	Image func(context.Context, ImageRequest) (ImageReply, error)
}

// ManagerConn is the managers' side of the bus towards the workers.
type ManagerConn struct {
	conn *nats.Conn
	log  *slog.Logger
}

// Manager is the server's connection to the workers of the whole cluster.
func (s *Server) Manager() *ManagerConn { return &ManagerConn{conn: s.people, log: s.log} }

// Push sends an increment to a node. Calls for one node must not overlap.
func (m *ManagerConn) Push(node string, a Assignments) error {
	msgs, err := split(toSubject(node, whatAssign), a)
	if err != nil {
		return err
	}
	for _, msg := range msgs {
		if err := m.conn.PublishMsg(msg); err != nil {
			return fmt.Errorf("send assignments to node %s: %w", node, err)
		}
	}
	return nil
}

// Serve answers the workers until the context ends, and returns when the last
// answer has been given. Only the leader serves: workers that find nobody try again.
func (m *ManagerConn) Serve(ctx context.Context, h Handlers) error {
	var running errgroup.Group
	running.SetLimit(maxHandlers)
	defer running.Wait()
	for what, answer := range map[string]func(context.Context, *nats.Msg) ([]*nats.Msg, error){
		whatSession: func(ctx context.Context, msg *nats.Msg) ([]*nats.Msg, error) {
			return handle(ctx, msg, func(s *Session) *string { return &s.Node }, h.Session)
		},
		whatBeat: func(ctx context.Context, msg *nats.Msg) ([]*nats.Msg, error) {
			return handle(ctx, msg, func(b *Beat) *string { return &b.Node }, h.Beat)
		},
		whatReport: func(ctx context.Context, msg *nats.Msg) ([]*nats.Msg, error) {
			return handle(ctx, msg, func(r *Report) *string { return &r.Node }, h.Report)
		},
		whatAttach: func(ctx context.Context, msg *nats.Msg) ([]*nats.Msg, error) {
			return handle(ctx, msg, func(r *AttachRequest) *string { return &r.Node }, h.Attach)
		},
		whatAttached: func(ctx context.Context, msg *nats.Msg) ([]*nats.Msg, error) {
			return handle(ctx, msg, func(a *Attached) *string { return &a.Node }, h.Attached)
		},
		whatImage: func(ctx context.Context, msg *nats.Msg) ([]*nats.Msg, error) {
			return handle(ctx, msg, func(r *ImageRequest) *string { return &r.Node }, h.Image)
		},
	} {
		// The closed handler runs after the last message has been passed on, so that
		// nothing is started once Wait has begun.
		ended := make(chan struct{})
		sub, err := m.conn.Subscribe(fromSubject(anyNode, what), func(msg *nats.Msg) {
			running.Go(func() error { m.answer(ctx, msg, answer); return nil })
		})
		if err != nil {
			return fmt.Errorf("listen to workers: %w", err)
		}
		sub.SetClosedHandler(func(string) { close(ended) })
		defer func() { sub.Unsubscribe(); <-ended }()
	}
	<-ctx.Done()
	return nil
}

func (m *ManagerConn) answer(ctx context.Context, msg *nats.Msg, answer func(context.Context, *nats.Msg) ([]*nats.Msg, error)) {
	node := sender(msg.Subject)
	if err := checkReply(node, msg.Reply); err != nil {
		m.log.Warn("refused a request", "err", err, "reply", msg.Reply)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	msgs, err := answer(ctx, msg)
	if err != nil {
		refusal := nats.NewMsg(msg.Reply)
		refusal.Header.Set(errorHeader, err.Error())
		msgs = []*nats.Msg{refusal}
	}
	for _, out := range msgs {
		if err := m.conn.PublishMsg(out); err != nil {
			m.log.Warn("answer a worker", "node", node, "err", err)
			return
		}
	}
}

// handle decodes a request, makes sure that it speaks of its sender, and encodes the answer.
func handle[In, Out any](ctx context.Context, msg *nats.Msg, named func(*In) *string, h func(context.Context, In) (Out, error)) ([]*nats.Msg, error) {
	var in In
	if err := json.Unmarshal(msg.Data, &in); err != nil {
		return nil, fmt.Errorf("read a request: %w", err)
	}
	if node := sender(msg.Subject); *named(&in) != node {
		return nil, errors.New("the request speaks of another node")
	}
	out, err := h(ctx, in)
	if err != nil {
		return nil, err
	}
	return split(msg.Reply, out)
}
