package bus

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// maxTunnels is how many connections a node takes at a time: a dashboard needs one per node and one per shell.
const maxTunnels = 256

// Dial connects to a node: to what its worker accepts from Tunnels. It returns once the node has answered.
func (m *ManagerConn) Dial(ctx context.Context, node string) (net.Conn, error) {
	near, far, err := tunnelPair()
	if err != nil {
		return nil, err
	}
	id := nuid.Next()
	t := newTunnel(m.conn, toSubject(node, whatTunnel+"."+id), far)
	sub, err := m.conn.ChanSubscribe(fromSubject(node, whatTunnel+"."+id), t.in)
	if err == nil {
		err = m.conn.Publish(toSubject(node, whatTunnel), []byte(id))
	}
	if err == nil {
		err = t.answered(ctx)
	}
	if err != nil {
		if sub != nil {
			sub.Unsubscribe()
		}
		near.Close()
		far.Close()
		return nil, fmt.Errorf("connect to node %s: %w", node, err)
	}
	go func() {
		defer sub.Unsubscribe()
		_ = t.run(context.Background()) // its two ends end it; why is for those who read
	}()
	return near, nil
}

// answered waits for the first word of the other end.
func (t *tunnel) answered(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	select {
	case m := <-t.in:
		if len(m.Data) > tunnelHead && m.Data[0] == tunnelGone {
			return errors.New(string(m.Data[tunnelHead:]))
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("it does not answer: %w", ctx.Err())
	}
}

// tunnels is a listener for connections from managers.
type tunnels struct {
	w    *WorkerConn
	ctx  context.Context
	stop context.CancelFunc
	open chan struct{} // one per tunnel
}

// Tunnels listens for connections that managers make to this node, until the context ends. There is one listener at a time.
func (w *WorkerConn) Tunnels(ctx context.Context) net.Listener {
	ctx, stop := context.WithCancel(ctx)
	return &tunnels{w: w, ctx: ctx, stop: stop, open: make(chan struct{}, maxTunnels)}
}

// Accept implements net.Listener.
func (l *tunnels) Accept() (net.Conn, error) {
	for {
		m, err := l.w.tunnels.NextMsgWithContext(l.ctx)
		switch {
		case l.ctx.Err() != nil:
			return nil, net.ErrClosed
		case errors.Is(err, nats.ErrSlowConsumer):
			continue
		case err != nil:
			return nil, fmt.Errorf("listen for connections: %w", err)
		}
		conn, err := l.join(string(m.Data))
		if err != nil {
			l.w.log.Warn("refused a connection from a manager", "err", err)
			continue
		}
		return conn, nil
	}
}

func (l *tunnels) join(id string) (net.Conn, error) {
	if id == "" || len(id) > 64 {
		return nil, errors.New("it has no name")
	}
	near, far, err := tunnelPair()
	if err != nil {
		return nil, err
	}
	node := l.w.node
	t := newTunnel(l.w.conn, fromSubject(node, whatTunnel+"."+id), far)
	select {
	case l.open <- struct{}{}:
	default:
		_ = t.say(tunnelGone, 0, []byte("the node has too many connections open already"))
		near.Close()
		far.Close()
		return nil, errors.New("too many are open")
	}
	sub, err := l.w.conn.ChanSubscribe(toSubject(node, whatTunnel+"."+id), t.in)
	if err == nil {
		err = t.say(tunnelAlive, 0, nil)
	}
	if err != nil {
		<-l.open
		near.Close()
		far.Close()
		return nil, err
	}
	go func() {
		defer func() { sub.Unsubscribe(); <-l.open }()
		_ = t.run(l.ctx)
	}()
	return near, nil
}

// Close implements net.Listener.
func (l *tunnels) Close() error { l.stop(); return nil }

// Addr implements net.Listener.
func (l *tunnels) Addr() net.Addr { return &net.UnixAddr{Name: l.w.node, Net: "bus"} }
