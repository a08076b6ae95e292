package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"

	"github.com/gorilla/mux"

	"orch/worker"
)

// nodeHandler is what managers reach on a node: its dockerd, and two things that dockerd has not, a way to a port of a task, and the usage
// of the machine and its tasks in one stream. Managers alone can connect to it, and what they could do with it they can do by assigning tasks.
func (d *Daemon) nodeHandler(agent *worker.Agent) http.Handler {
	r := mux.NewRouter().SkipClean(true).UseEncodedPath()
	r.NotFoundHandler, r.MethodNotAllowedHandler = d.through, d.through
	for _, prefix := range []string{"", "/v{version:[0-9.]+}"} {
		r.Path(prefix + "/nodes/{id}/usage").Methods(http.MethodGet).HandlerFunc(d.serveUsage)
		r.Path(prefix + "/tasks/{id}/forward").Methods(http.MethodPost).HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			d.serveForward(w, r, agent.Dial)
		})
	}
	return r
}

// serveNode answers managers until the context ends.
func (d *Daemon) serveNode(ctx context.Context, n *node) error {
	server := &http.Server{
		Handler: d.nodeHandler(n.agent), ReadHeaderTimeout: readHeaderTimeout,
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	if err := server.Serve(n.conn.Tunnels(ctx)); ctx.Err() == nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listen to managers: %w", err)
	}
	return nil
}

// serveForward joins the client's connection with a port of a task.
func (d *Daemon) serveForward(w http.ResponseWriter, r *http.Request, dial func(context.Context, string, uint16) (net.Conn, error)) {
	port, err := strconv.ParseUint(r.URL.Query().Get("port"), 10, 16)
	if err != nil || port == 0 {
		deny(w, http.StatusBadRequest, fmt.Errorf("port %q is none from 1 to 65535", r.URL.Query().Get("port")))
		return
	}
	if r.Header.Get("Upgrade") != "tcp" {
		deny(w, http.StatusBadRequest, errors.New("a connection to a task needs the headers `Connection: Upgrade` and `Upgrade: tcp`"))
		return
	}
	backend, err := dial(r.Context(), mux.Vars(r)["id"], uint16(port))
	if err != nil {
		deny(w, http.StatusBadGateway, err)
		return
	}
	defer backend.Close()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		deny(w, http.StatusInternalServerError, err)
		return
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"); err != nil {
		return
	}
	join(conn, buffered, backend)
}

// join copies both ways until both have ended.
func join(client net.Conn, fromClient io.Reader, backend net.Conn) {
	up := make(chan struct{})
	go func() {
		defer close(up)
		_, _ = io.Copy(backend, fromClient)
		closeWrite(backend)
	}()
	_, err := io.Copy(client, backend)
	closeWrite(client)
	if err == nil {
		<-up // the client may still have something to say
	}
}

func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // one that is gone has ended, too
	}
}

// deny answers as Docker does.
func deny(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": err.Error()})
}
