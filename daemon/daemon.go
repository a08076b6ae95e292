// Package daemon is one node's process: it owns the socket, passes on to the
// local dockerd what is not Swarm's, remembers what cluster the node is in, and
// runs the two roles, manager and worker, while it is in one.
//
// The way of a request: listener → the current handler, which is swapped whole
// when the node joins or leaves → manager/api, or, where that has no route,
// pass-through to dockerd.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"orch/daemon/passthrough"
)

const (
	// readHeaderTimeout bounds how long a client may take to say what it wants.
	readHeaderTimeout = 30 * time.Second
	// shutdownTimeout bounds a clean stop; streams that last longer are cut.
	shutdownTimeout = 3 * time.Second
)

// Config is a daemon's settings.
type Config struct {
	// DataDir holds everything that outlives the process.
	DataDir string
	// Socket is the path of the Docker-compatible API.
	Socket string
	// ListenAddr and AdvertiseAddr are the defaults of init and join.
	ListenAddr    string
	AdvertiseAddr string
	// DockerHost is the local engine, in DOCKER_HOST's form.
	DockerHost string
	Version    string
	Log        *slog.Logger
}

// Daemon is the process.
type Daemon struct {
	cfg     Config
	files   files
	docker  *client.Client
	through *passthrough.Handler
	log     *slog.Logger
	facts   engineFacts
	outside http.Handler // while the node is in no cluster
	// life ends when the daemon is to stop; nodes run within it.
	life context.Context

	// change guards membership: one init, join or leave at a time, and what follows.
	change sync.Mutex
	node   *node // nil while the node is in no cluster, or
	idle   *idle // in one and without its roles

	// serve guards what is served, and on whose behalf: a node that has left says nothing more.
	serve   sync.Mutex
	served  *node
	handler http.Handler

	// failed carries the error of a role that cannot go on.
	failed chan error
}

// Run serves until the context ends; containers run on after that.
func Run(ctx context.Context, cfg Config) error {
	if err := os.MkdirAll(cfg.DataDir, 0o711); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	unlock, err := lock(cfg.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	docker, err := client.NewClientWithOpts(client.WithHost(cfg.DockerHost), client.WithAPIVersionNegotiation())
	if err != nil {
		return fmt.Errorf("docker host %q: %w", cfg.DockerHost, err)
	}
	defer docker.Close()
	through, err := passthrough.New(cfg.DockerHost, cfg.Log)
	if err != nil {
		return err
	}
	d := &Daemon{
		cfg: cfg, files: files{dir: cfg.DataDir}, docker: docker, through: through,
		log: cfg.Log.With("component", "daemon"), life: ctx, failed: make(chan error, 1),
	}
	d.askEngine(ctx)
	d.outside = d.outsideHandler()
	d.show(d.outside)
	return d.run(ctx)
}

func (d *Daemon) run(ctx context.Context) error {
	listener, err := listen(d.cfg.Socket)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.serving().ServeHTTP(w, r) }),
		ReadHeaderTimeout: readHeaderTimeout,
		ErrorLog:          slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", d.cfg.Socket, err)
		}
		return nil
	})
	group.Go(func() error {
		defer shutdown(server)
		if err := d.resume(ctx); err != nil {
			return err
		}
		d.log.Info("ready", "socket", d.cfg.Socket, "docker", d.cfg.DockerHost, "version", d.cfg.Version)
		select {
		case <-ctx.Done():
			return nil
		case err := <-d.failed:
			return err
		}
	})
	err = group.Wait()
	d.change.Lock()
	defer d.change.Unlock()
	if d.node != nil {
		d.node.stop()
		d.log.Info("stopped; containers run on")
	}
	return err
}

// enter makes n the node whose API is served.
func (d *Daemon) enter(n *node) {
	d.node, d.idle = n, nil
	d.serve.Lock()
	defer d.serve.Unlock()
	d.served, d.handler = n, n.handler
}

// show serves what is said on behalf of no node that runs.
func (d *Daemon) show(h http.Handler) {
	d.serve.Lock()
	defer d.serve.Unlock()
	d.served, d.handler = nil, h
}

// swap changes what a node serves.
func (d *Daemon) swap(n *node, h http.Handler) {
	d.serve.Lock()
	defer d.serve.Unlock()
	n.handler = h
	if d.served == n {
		d.handler = h
	}
}

func (d *Daemon) serving() http.Handler {
	d.serve.Lock()
	defer d.serve.Unlock()
	return d.handler
}

func shutdown(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		server.Close()
	}
}

// lock keeps a second daemon away from a data directory.
func lock(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another orch daemon uses the data directory %s", dir)
	}
	return func() { f.Close() }, nil
}

// listen opens the socket, in place of one that a killed daemon left behind.
func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the socket's directory: %w", err)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return nil, fmt.Errorf("another process serves %s", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	// The socket must never be open to others, not even before the chmod.
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := permit(path); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
