package bus

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// pingEvery and maxPings let a worker notice within 3 s that a manager's machine
	// is gone without having closed the connection.
	pingEvery = time.Second
	maxPings  = 2
	// redialEvery is short: a manager's restart should cost a worker nothing.
	redialEvery  = 100 * time.Millisecond
	redialJitter = 200 * time.Millisecond
	dialTimeout  = 3 * time.Second
	// reachTimeout is for the connection below TLS, which a kernel makes however busy its machine is: one that is gone must not
	// keep a worker from the next.
	reachTimeout = 700 * time.Millisecond

	errorHeader = "Orch-Error"
)

// ErrNoManager says that no manager leads now, or none can be reached: try again.
var ErrNoManager = errors.New("no manager answers")

// WorkerConfig says who a worker is and where the managers are.
type WorkerConfig struct {
	NodeID string
	// Addrs are the managers', host:port, and TLS is the node's for connections to them.
	Addrs []string
	TLS   *tls.Config
	// Server is the manager in the same process, on a node that is one; it is used instead.
	Server *Server
	// Patient makes managers that cannot be reached yet no error: the connection
	// comes about once they can.
	Patient bool
	Log     *slog.Logger
}

// WorkerConn is a worker's side of the bus. It reconnects by itself, for ever.
type WorkerConn struct {
	node        string
	conn        *nats.Conn
	log         *slog.Logger
	assigned    *nats.Subscription
	logs        *nats.Subscription // requests for them
	tunnels     *nats.Subscription // openings of them
	reconnected chan struct{}
}

// DialWorker connects a worker to any manager.
func DialWorker(ctx context.Context, cfg WorkerConfig) (*WorkerConn, error) {
	w := &WorkerConn{node: cfg.NodeID, log: cfg.Log, reconnected: make(chan struct{}, 1)}
	if w.log == nil {
		w.log = slog.Default()
	}
	w.log = w.log.With("component", "bus")
	var err error
	if w.conn, err = w.dial(ctx, cfg); err != nil {
		return nil, fmt.Errorf("connect to the managers: %w", err)
	}
	if err := w.listen(ctx); err != nil {
		w.conn.Close()
		return nil, fmt.Errorf("listen to the managers: %w", err)
	}
	return w, nil
}

// listen returns once the server knows that the worker listens, so that nothing
// sent after a Session is missed.
func (w *WorkerConn) listen(ctx context.Context) (err error) {
	if w.assigned, err = w.conn.SubscribeSync(toSubject(w.node, whatAssign)); err != nil {
		return err
	}
	if err := w.assigned.SetPendingLimits(-1, maxPending); err != nil {
		return err
	}
	if w.logs, err = w.conn.SubscribeSync(toSubject(w.node, whatLogs)); err != nil {
		return err
	}
	if w.tunnels, err = w.conn.SubscribeSync(toSubject(w.node, whatTunnel)); err != nil {
		return err
	}
	if !w.conn.IsConnected() {
		return nil // patient; subscriptions go out with the connection
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return w.conn.FlushWithContext(ctx)
}

func (w *WorkerConn) dial(ctx context.Context, cfg WorkerConfig) (*nats.Conn, error) {
	opts := nats.GetDefaultOptions()
	opts.Name = w.node
	// The managers answer only to inboxes that begin with the node's name.
	opts.InboxPrefix = inboxPrefix(w.node)
	opts.MaxReconnect, opts.ReconnectWait = -1, redialEvery
	opts.ReconnectJitter, opts.ReconnectJitterTLS = redialJitter, redialJitter
	opts.IgnoreAuthErrorAbort = true // one manager may not know yet what another does
	opts.PingInterval, opts.MaxPingsOut = pingEvery, maxPings
	opts.Timeout, opts.Dialer = dialTimeout, &net.Dialer{Timeout: reachTimeout}
	if deadline, ok := ctx.Deadline(); ok {
		opts.Timeout = min(opts.Timeout, time.Until(deadline))
	}
	// Nothing is worth sending late: what a worker has to say, it says again.
	opts.ReconnectBufSize = -1
	var said string // the callbacks take turns; what goes on for hours is said once
	opts.AsyncErrorCB = func(_ *nats.Conn, sub *nats.Subscription, err error) {
		if err.Error() != said {
			said = err.Error()
			logAsync(w.log, sub, err)
		}
	}
	opts.ReconnectedCB = func(*nats.Conn) {
		said = ""
		select {
		case w.reconnected <- struct{}{}:
		default:
		}
	}
	if cfg.Server != nil {
		opts.InProcessServer, opts.Token = cfg.Server.nats, cfg.Server.tokenWorker
		return opts.Connect()
	}
	opts.RetryOnFailedConnect = cfg.Patient
	opts.ConnectedCB = opts.ReconnectedCB // the first connection may come late
	opts.Secure, opts.TLSConfig, opts.TLSHandshakeFirst = true, cfg.TLS, true
	// In the order given: on a manager's machine that begins with its own.
	opts.NoRandomize, opts.IgnoreDiscoveredServers = true, true
	var err error
	if opts.Servers, err = servers(cfg.Addrs); err != nil {
		return nil, err
	}
	return opts.Connect()
}

func servers(addrs []string) ([]string, error) {
	var urls []string
	for _, addr := range addrs {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("manager address %q: %w", addr, err)
		}
		urls = append(urls, (&url.URL{Scheme: "tls", Host: addr}).String())
	}
	return urls, nil
}

// SetManagers replaces the managers that the connection turns to when it is lost; the present one is kept.
func (w *WorkerConn) SetManagers(addrs []string) error {
	urls, err := servers(addrs)
	if err == nil && len(urls) > 0 {
		err = w.conn.SetServerPool(urls)
	}
	if err != nil {
		return fmt.Errorf("connect to other managers: %w", err)
	}
	return nil
}

// Elsewhere leaves a manager that does not help for another, if there is one.
func (w *WorkerConn) Elsewhere() {
	if len(w.conn.ServerPool()) > 1 {
		_ = w.conn.ForceReconnect() // a closed connection has nowhere to go
	}
}

// Close ends the connection.
func (w *WorkerConn) Close() { w.conn.Close() }

// Reconnected delivers after a connection that was lost is there again:
// increments may have been missed.
func (w *WorkerConn) Reconnected() <-chan struct{} { return w.reconnected }

// Connected says whether a manager is reachable now.
func (w *WorkerConn) Connected() bool { return w.conn.IsConnected() }

// Session asks for everything that is assigned to the node. Increments that
// Next returns count on from the answer's Seq; older ones may still come and are to be ignored.
func (w *WorkerConn) Session(ctx context.Context, s Session) (Assignments, error) {
	s.Node = w.node
	var a Assignments
	data, err := w.ask(ctx, whatSession, s)
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	if err != nil {
		return Assignments{}, fmt.Errorf("ask for the node's assignments: %w", err)
	}
	return a, nil
}

// Beat says that the node is alive.
func (w *WorkerConn) Beat(ctx context.Context, b Beat) (Reply, error) {
	b.Node = w.node
	return w.tell(ctx, whatBeat, b)
}

// Report says what became of tasks; without an error it is stored.
func (w *WorkerConn) Report(ctx context.Context, r Report) (Reply, error) {
	r.Node = w.node
	return w.tell(ctx, whatReport, r)
}

func (w *WorkerConn) tell(ctx context.Context, what string, v any) (Reply, error) {
	var r Reply
	data, err := w.ask(ctx, what, v)
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return r, fmt.Errorf("send a %s to the managers: %w", what, err)
	}
	return r, nil
}

// Next is the next increment. One that was lost shows as a gap in Seq.
func (w *WorkerConn) Next(ctx context.Context) (Assignments, error) {
	var p parts
	for {
		m, err := w.assigned.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrSlowConsumer) {
			continue // reported once; the gap shows
		}
		if err != nil {
			return Assignments{}, fmt.Errorf("wait for assignments: %w", err)
		}
		data, err := p.add(m)
		if err != nil || data == nil {
			continue // the rest, or another session, follows
		}
		var a Assignments
		if err := json.Unmarshal(data, &a); err != nil {
			return Assignments{}, fmt.Errorf("read assignments: %w", err)
		}
		return a, nil
	}
}

// ask sends a request and collects the answer, of any size.
func (w *WorkerConn) ask(ctx context.Context, what string, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	inbox := w.conn.NewInbox()
	answers, err := w.conn.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer answers.Unsubscribe()
	if err := answers.SetPendingLimits(-1, maxPending); err != nil {
		return nil, err
	}
	err = w.conn.PublishRequest(fromSubject(w.node, what), inbox, body)
	if errors.Is(err, nats.ErrReconnectBufExceeded) {
		return nil, fmt.Errorf("%w: not connected", ErrNoManager)
	}
	if err != nil {
		return nil, err
	}
	return collect(ctx, answers)
}

func collect(ctx context.Context, answers *nats.Subscription) ([]byte, error) {
	var p parts
	for {
		m, err := answers.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrNoResponders) {
			return nil, ErrNoManager
		}
		if err != nil {
			return nil, err
		}
		if text := m.Header.Get(errorHeader); text != "" {
			return nil, errors.New(text)
		}
		if whole, err := p.add(m); whole != nil || err != nil {
			return whole, err
		}
	}
}
