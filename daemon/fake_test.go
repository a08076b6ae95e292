package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// fakeEngine is a dockerd that has nothing and can do nothing: enough for a node
// without tasks.
func fakeEngine(t *testing.T) (host string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.44")
		switch p := r.URL.Path; {
		case strings.HasSuffix(p, "/_ping"):
		case strings.HasSuffix(p, "/info"):
			io.WriteString(w, `{"Name":"host","ServerVersion":"28.0.0","OSType":"linux","Architecture":"x86_64","NCPU":2,"MemTotal":1073741824,"Swarm":{"LocalNodeState":"inactive"}}`)
		case strings.HasSuffix(p, "/events"):
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case r.Method == http.MethodGet && (strings.HasSuffix(p, "/containers/json") || strings.HasSuffix(p, "/networks")):
			io.WriteString(w, `[]`)
		default:
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"message":"not here"}`)
		}
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return "unix://" + path
}

// machine is a daemon on a fake engine that can be restarted.
type machine struct {
	t      *testing.T
	dir    string
	engine string
	log    *journal // everything it logs, at debug
	client *http.Client
	starts int
	stop   func()
	// process is the daemon's, if it has one of its own.
	process *os.Process
}

// newMachine is a running daemon; it ends with the test.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := describeMachine(t)
	m.start()
	return m
}

// describeMachine is a machine without a daemon yet.
func describeMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir(), engine: fakeEngine(t), log: &journal{}}
	m.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", m.socket())
	}}}
	t.Cleanup(func() {
		if m.stop != nil {
			m.stop()
		}
	})
	return m
}

func (m *machine) socket() string  { return filepath.Join(m.dir, "orch.sock") }
func (m *machine) dataDir() string { return filepath.Join(m.dir, "data") }

func (m *machine) start() {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(m.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	go func() {
		ended <- Run(ctx, Config{DataDir: m.dataDir(), Socket: m.socket(), DockerHost: m.engine, Log: log})
	}()
	m.stop = func() {
		m.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			m.t.Errorf("the daemon: %v", err)
		}
		m.stop = nil
	}
	m.starts++
	m.awaitReadyDaemon()
}

func (m *machine) awaitReadyDaemon() {
	m.t.Helper()
	m.await("the daemon", func() bool { return strings.Count(m.log.String(), "msg=ready ") == m.starts })
}

func (m *machine) restart() {
	m.t.Helper()
	m.stop()
	m.start()
}

// journal is a log that is read while it is written.
type journal struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

// call is a call of the API.
func (m *machine) call(method, path, body string) (int, string) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), method, "http://docker"+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := m.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(answer))
}

// must is a call that has to succeed; its answer goes into out unless that is nil.
func (m *machine) must(method, path, body string, out any) {
	m.t.Helper()
	status, answer := m.call(method, path, body)
	if status >= 300 || status == 0 {
		m.t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(answer), out); err != nil {
			m.t.Fatalf("%s %s: %v: %s", method, path, err, answer)
		}
	}
}

// state is what /info says of the cluster.
func (m *machine) state() string {
	m.t.Helper()
	_, answer := m.call("GET", "/info", "")
	_, swarm, _ := strings.Cut(answer, `"Swarm":`)
	return swarm
}

func (m *machine) init(extra string) {
	m.t.Helper()
	m.must("POST", "/swarm/init", `{"ListenAddr":"127.0.0.1:0","AdvertiseAddr":"127.0.0.1:2377"`+extra+`}`, nil)
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
