package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// maxPayload is the largest single message; the largest object of the
	// state, a config of 1,000 KiB in JSON, is well below it.
	maxPayload = 8 << 20
	// maxPending is what may wait for one connection before the server drops it:
	// the largest set of assignments must fit.
	maxPending = 2 * maxMessage
	// tlsTimeout is for both sides of a handshake, in seconds: generous, because a
	// whole cluster may come back at once to one small machine.
	tlsTimeout = 5
	// pollEvery is how often the server is asked for what it has no event for.
	pollEvery = 2 * time.Millisecond
	// readyTimeout bounds the start when the context does not. An election of a
	// lone server takes up to 9 s with the stock timing.
	readyTimeout = 30 * time.Second
)

// ServerConfig is what a manager's server needs to know.
type ServerConfig struct {
	NodeID    string
	ClusterID string
	// Name is the server's identity in the consensus, the NodeID if it is empty. It is never used
	// again once it was removed: the others would not listen to it for minutes.
	Name string
	// Dir holds the state and nothing else.
	Dir string
	// Key encrypts what is in Dir; "" leaves it in the clear. A Dir that was in the clear is
	// encrypted as it is written to.
	Key string
	// ClientAddr and RouteAddr are host:port for workers and for other managers;
	// port 0 takes a free one.
	ClientAddr string
	RouteAddr  string
	// AdvertiseClient and AdvertiseRoute are what others are told of them; "" is the listeners' own.
	AdvertiseClient string
	AdvertiseRoute  string
	// Routes are the route addresses of the other managers.
	Routes []string
	// ServerTLS must demand and verify certificates of the cluster, RouteTLS those
	// of managers only, in both directions (package identity).
	ServerTLS *tls.Config
	RouteTLS  *tls.Config
	// Founding makes a new cluster in a Dir that holds none, Joining makes the server a
	// member of the one that the Routes lead to. Neither has an effect on a Dir that holds a
	// cluster. Only one server of a cluster may be joining at a time.
	Founding bool
	Joining  bool
	// FirstSeq is where the sequences of a new cluster's state begin, 0 for 1.
	FirstSeq uint64
	// Rescue makes a cluster of one of what is in the Dir, after the majority of the managers was lost.
	Rescue bool
	Log    *slog.Logger
}

// Server is the embedded server of one manager.
type Server struct {
	cfg    ServerConfig
	log    *slog.Logger
	opts   *server.Options
	nats   *server.Server
	ghost  *server.Server
	auth   *auth
	lines  *natsLog
	state  *nats.Conn
	people *nats.Conn // the managers' side of the workers' account

	// rescuing says that the state lies in the directory and is still to be taken over, rescued that it was.
	rescuing, rescued bool

	tokenState, tokenManager, tokenWorker, tokenSystem string
}

// Start runs a manager's server and returns once the state can be read and written. One of several
// managers waits for a majority of them as long as the context lets it.
func Start(ctx context.Context, cfg ServerConfig) (*Server, error) {
	quickenElections()
	if len(cfg.Routes) == 0 {
		within, cancel := context.WithTimeout(ctx, readyTimeout)
		defer cancel()
		ctx = within
	}
	if cfg.Name == "" {
		cfg.Name = cfg.NodeID
	}
	s := &Server{cfg: cfg, log: cfg.Log}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.log = s.log.With("component", "bus")
	err := s.rescue(ctx)
	if err == nil {
		err = s.start(ctx)
	}
	if err != nil {
		s.Shutdown(context.WithoutCancel(ctx))
		return nil, err
	}
	s.lines.steady.Store(true)
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	fresh, err := s.prepareDir()
	if err != nil {
		return err
	}
	if err := s.run(ctx); err != nil {
		return s.explain(err)
	}
	joining := fresh && s.cfg.Joining
	if joining {
		// No ghost before it is listed: what cannot elect cannot elect wrongly.
		if err := s.awaitListing(ctx); err != nil {
			return fmt.Errorf("join the cluster state of %v: %w", s.cfg.Routes, err)
		}
	}
	if s.ghost, err = s.startGhost(); err != nil {
		return err
	}
	if fresh && !joining {
		if err := s.found(ctx); err != nil {
			return fmt.Errorf("found the cluster in %s: %w", s.cfg.Dir, err)
		}
	}
	if err := s.await(ctx, "a leader of the cluster state", func() (bool, error) { return s.hasLeader(fresh && !joining), nil }); err != nil {
		return s.explain(err)
	}
	if s.state, err = s.connect(s.tokenState, s.cfg.NodeID+" state"); err != nil {
		return err
	}
	if s.people, err = s.connect(s.tokenManager, s.cfg.NodeID+" manager"); err != nil {
		return err
	}
	switch {
	case s.rescuing:
		return s.takeOver(ctx)
	case joining:
		return s.finishJoining(ctx)
	case fresh:
		return s.finishFounding(ctx)
	}
	return s.checkState(ctx)
}

// run starts the server itself and waits until it accepts connections.
func (s *Server) run(ctx context.Context) error {
	s.auth = newAuth(s.cfg.ClusterID, s.log)
	s.tokenState = s.auth.admit(local{account: accountState})
	s.tokenManager = s.auth.admit(local{account: accountWorkers})
	s.tokenWorker = s.auth.admit(local{account: accountWorkers, worker: s.cfg.NodeID})
	s.tokenSystem = s.auth.admit(local{account: accountSystem})
	var err error
	if s.opts, err = s.options(); err != nil {
		return err
	}
	if s.nats, err = server.NewServer(s.opts); err != nil {
		return fmt.Errorf("configure the server: %w", err)
	}
	s.lines = &natsLog{log: s.log}
	s.nats.SetLogger(s.lines, false, false)
	s.auth.serve(s.nats)
	s.nats.Start()
	return s.await(ctx, "the listeners", func() (bool, error) {
		if msg := s.lines.failure(); msg != "" {
			return false, errors.New(msg)
		}
		// The server polls every 25 ms by itself if it is given longer than that.
		return s.nats.ReadyForConnections(time.Millisecond), nil
	})
}

// await polls until something of the server is so.
func (s *Server) await(ctx context.Context, what string, done func() (bool, error)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		}
	}
}

// hasLeader says whether the consensus group can decide. The founder's must be
// led by it, for the other one of the pair is about to go.
func (s *Server) hasLeader(founding bool) bool {
	if s.nats.JetStreamIsLeader() {
		return true
	}
	// Another manager leads; this one must have caught up with it.
	return !founding && s.nats.JetStreamIsCurrent() && s.metaLeader() != ""
}

// ErrDamaged says that the state is not all that was acknowledged. It takes somebody to decide what to go back to.
var ErrDamaged = errors.New("the cluster state is damaged")

func (s *Server) damaged(err error) error {
	return fmt.Errorf("%w: open %s: %w; `orch restore` goes back to a snapshot or a backup; "+
		"where other managers run, `orch leave --force` here and join again", ErrDamaged, s.cfg.Dir, err)
}

func (s *Server) explain(err error) error {
	return fmt.Errorf("start the cluster state in %s: %w; see that the disk is not full, that the directory "+
		"is writable and that no other process uses it or its ports", s.cfg.Dir, err)
}

// connect makes a connection within the process.
func (s *Server) connect(token, name string) (*nats.Conn, error) {
	conn, err := nats.Connect("", nats.InProcessServer(s.nats), nats.Token(token), nats.Name(name),
		nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) { logAsync(s.log, sub, err) }))
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded server: %w", err)
	}
	return conn, nil
}

func logAsync(log *slog.Logger, sub *nats.Subscription, err error) {
	if sub != nil {
		log = log.With("subject", sub.Subject)
	}
	log.Warn("bus connection", "err", err)
}

// State is the connection to the cluster state.
func (s *Server) State() *nats.Conn { return s.state }

// Workers is the managers' connection among the workers.
func (s *Server) Workers() *nats.Conn { return s.people }

// ClientAddr is where workers connect.
func (s *Server) ClientAddr() string { return s.nats.Addr().String() }

// RouteAddr is where other managers connect.
func (s *Server) RouteAddr() string { return s.nats.ClusterAddr().String() }

// Revoke refuses the certificates of exactly these nodes from now on and cuts
// their connections. Every manager must do so: a worker that one refuses tries the next.
func (s *Server) Revoke(nodes []string) {
	for _, id := range s.auth.revoke(nodes) {
		// An error means that the connection is gone already.
		_ = s.nats.DisconnectClientByID(id)
	}
}

// Shutdown ends the server cleanly: leadership is handed over, files are
// flushed and closed. It gives up waiting when the context ends.
func (s *Server) Shutdown(ctx context.Context) error {
	if s.lines != nil {
		s.lines.steady.Store(false)
	}
	for _, conn := range []*nats.Conn{s.people, s.state} {
		if conn != nil {
			conn.Close()
		}
	}
	var ended sync.WaitGroup
	for _, n := range []*server.Server{s.ghost, s.nats} {
		if n != nil {
			ended.Go(func() { n.Shutdown(); n.WaitForShutdown() })
		}
	}
	done := make(chan struct{})
	go func() { ended.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop the bus: %w", ctx.Err())
	}
}

// reserve replaces port 0: the server's own address must be known before it starts.
func reserve(addr string) (host string, port int, err error) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return "", 0, err
	}
	host, _, err = net.SplitHostPort(addr)
	if err != nil || tcp.Port != 0 {
		return host, tcp.Port, err
	}
	l, err := net.ListenTCP("tcp", tcp)
	if err != nil {
		return "", 0, err
	}
	defer l.Close()
	return host, l.Addr().(*net.TCPAddr).Port, nil
}
