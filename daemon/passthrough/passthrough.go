// Package passthrough hands requests of the Docker Engine API to the local
// dockerd as they are: bodies are streamed, and a connection that dockerd takes
// over (attach, exec, BuildKit's session) is joined byte for byte.
//
// It knows nothing of orch, and must never change what passes.
package passthrough

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/docker/docker/client"
)

// Handler passes requests to one dockerd.
type Handler struct {
	host  string
	dial  func(ctx context.Context) (net.Conn, error)
	plain *httputil.ReverseProxy
	log   *slog.Logger
}

// dialTimeout bounds connecting to a dockerd; it is on this machine.
const dialTimeout = 5 * time.Second

// New is a handler for the dockerd at host, in DOCKER_HOST's form
// (unix:///var/run/docker.sock, tcp://127.0.0.1:2375).
func New(host string, log *slog.Logger) (*Handler, error) {
	u, err := client.ParseHostURL(host)
	if err != nil {
		return nil, fmt.Errorf("docker host: %w", err)
	}
	if u.Scheme != "unix" && u.Scheme != "tcp" {
		return nil, fmt.Errorf("docker host %q: only unix:// and tcp:// are possible", host)
	}
	addr := u.Host
	if u.Scheme == "unix" {
		addr = u.Host + u.Path
	}
	return Over(host, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, u.Scheme, addr)
	}, log), nil
}

// Over is a handler for the dockerd that dial leads to; host is for messages.
func Over(host string, dial func(context.Context) (net.Conn, error), log *slog.Logger) *Handler {
	h := &Handler{host: host, log: log, dial: dial}
	h.plain = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "docker", r.In.Host
		},
		Transport: &http.Transport{
			DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return h.dial(ctx) },
			DisableCompression:  true,
			MaxIdleConnsPerHost: 32,
			IdleConnTimeout:     time.Minute,
		},
		FlushInterval: -1,
		ErrorHandler:  h.fail,
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if takesOver(r) {
		h.join(w, r)
		return
	}
	h.plain.ServeHTTP(w, r)
}

// hijacked are the calls whose connection old clients expect to be taken over
// without having asked for an upgrade.
var hijacked = regexp.MustCompile(`^(/v[0-9.]+)?/(containers/[^/]+/attach|exec/[^/]+/start)$`)

func takesOver(r *http.Request) bool {
	return r.Header.Get("Upgrade") != "" || r.Method == http.MethodPost && hijacked.MatchString(r.URL.Path)
}

// join sends a request over a connection of its own and, if dockerd takes the
// connection over, copies both directions until the end.
func (h *Handler) join(w http.ResponseWriter, r *http.Request) {
	backend, err := h.dial(r.Context())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer backend.Close()
	out := r.Clone(r.Context())
	out.URL = &url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	if err := out.Write(backend); err != nil {
		h.fail(w, r, err)
		return
	}
	from := bufio.NewReader(backend)
	resp, err := http.ReadResponse(from, r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer resp.Body.Close()
	if !taken(resp) {
		copyResponse(w, resp)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer conn.Close()
	if err := writeHead(conn, resp); err != nil {
		return
	}
	splice(conn, buffered.Reader, backend, from)
}

// taken says whether dockerd has taken the connection over with this answer.
func taken(resp *http.Response) bool {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return true
	}
	stream := resp.Header.Get("Content-Type")
	return resp.StatusCode == http.StatusOK && resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 &&
		(stream == "application/vnd.docker.raw-stream" || stream == "application/vnd.docker.multiplexed-stream")
}

// writeHead writes the answer's first part as dockerd wrote it; the rest is copied raw.
func writeHead(w io.Writer, resp *http.Response) error {
	var head strings.Builder
	fmt.Fprintf(&head, "HTTP/1.1 %s\r\n", resp.Status)
	if err := resp.Header.Write(&head); err != nil {
		return err
	}
	_, err := io.WriteString(w, head.String()+"\r\n")
	return err
}

// splice joins two connections. The client's end of input is passed on as such,
// for dockerd may still have output; dockerd's end is the end.
func splice(conn net.Conn, fromClient io.Reader, backend net.Conn, fromBackend io.Reader) {
	go func() {
		_, err := io.Copy(backend, fromClient)
		if half, ok := backend.(interface{ CloseWrite() error }); ok && err == nil {
			err = half.CloseWrite()
		}
		if err != nil {
			backend.Close()
		}
	}()
	_, _ = io.Copy(conn, fromBackend)
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

func copyResponse(w http.ResponseWriter, resp *http.Response) {
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

// fail answers for a dockerd that cannot be reached or broke off.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) {
		return // the client has gone
	}
	h.log.Debug("a request could not be passed on", "method", r.Method, "path", r.URL.Path, "error", err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	_ = json.NewEncoder(w).Encode(map[string]string{
		"message": fmt.Sprintf("Cannot connect to the Docker daemon at %s. Is the docker daemon running? (%v)", h.host, err),
	})
}
