package passthrough

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// through is a client's way to a fake dockerd by way of the handler: an address to dial.
func through(t testing.TB, dockerd http.HandlerFunc) (dial func() net.Conn, url string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	backend := &http.Server{Handler: dockerd}
	go func() { _ = backend.Serve(l) }()
	t.Cleanup(func() { backend.Close() })
	h, err := New("unix://"+socket, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(h)
	t.Cleanup(front.Close)
	return func() net.Conn {
		conn, err := net.Dial("tcp", strings.TrimPrefix(front.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		return conn
	}, front.URL
}

// echo takes the connection over, as dockerd's attach does, sends back all it
// gets until the client's end of input, and then says goodbye.
func echo(head string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "%s\r\n\r\n", head)
		_, _ = conn.Write(body)
		_, _ = io.Copy(conn, buf)
		_, _ = io.WriteString(conn, "goodbye")
	}
}

func TestTakenOverConnectionsAreJoinedByteForByte(t *testing.T) {
	upgraded := "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp"
	raw := "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream"
	for name, c := range map[string]struct{ request, head, body string }{
		"attach with an upgrade":      {"POST /v1.41/containers/x/attach?stdin=1 HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", upgraded, ""},
		"attach of an old client":     {"POST /containers/x/attach?stdin=1 HTTP/1.1\r\nHost: docker\r\n\r\n", raw, ""},
		"exec with a body":            {"POST /exec/x/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 5\r\n\r\n{\"a\"}", upgraded, `{"a"}`},
		"a BuildKit session over h2c": {"POST /session HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", upgraded, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dial, _ := through(t, echo(c.head))
			conn := dial()
			if _, err := io.WriteString(conn, c.request); err != nil {
				t.Fatal(err)
			}
			from := bufio.NewReader(conn)
			resp, err := http.ReadResponse(from, nil)
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Fields(c.head)[1]; fmt.Sprint(resp.StatusCode) != want || resp.Header.Get("Content-Type") != "application/vnd.docker.raw-stream" {
				t.Fatalf("answer %s %v, want %s", resp.Status, resp.Header, want)
			}
			data := make([]byte, 3<<20)
			_, _ = rand.Read(data)
			go func() {
				_, _ = conn.Write(data)
				_ = conn.(*net.TCPConn).CloseWrite()
			}()
			got, err := io.ReadAll(from)
			if err != nil {
				t.Fatal(err)
			}
			if want := append([]byte(c.body), append(data, "goodbye"...)...); !bytes.Equal(got, want) {
				t.Errorf("%d bytes came back, want %d", len(got), len(want))
			}
		})
	}
}

// An attach that dockerd refuses is an ordinary answer, and the connection stays
// orch's: a second request on it must not slip past to dockerd.
func TestRefusedUpgradeKeepsTheConnection(t *testing.T) {
	dial, _ := through(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"message":"No such container: x"}`)
	})
	conn := dial()
	from := bufio.NewReader(conn)
	for range 2 {
		_, _ = io.WriteString(conn, "POST /containers/x/attach HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		resp, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusNotFound || string(body) != `{"message":"No such container: x"}` {
			t.Errorf("answer %s %s", resp.Status, body)
		}
	}
}

func TestAnswersAreStreamed(t *testing.T) {
	more := make(chan struct{})
	_, url := through(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		w.(http.Flusher).Flush()
		<-more
		_, _ = io.WriteString(w, "second\n")
	})
	resp, err := http.Get(url + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || lines.Text() != "first" {
		t.Fatalf("first line %q", lines.Text())
	}
	close(more)
	if !lines.Scan() || lines.Text() != "second" {
		t.Fatalf("second line %q", lines.Text())
	}
}

func TestUploadsAreStreamed(t *testing.T) {
	_, url := through(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d %v %s", n, r.TransferEncoding, r.Header.Get("X-Registry-Config"))
	})
	req, _ := http.NewRequest(http.MethodPost, url+"/build?t=a%2Fb", io.LimitReader(zeros{}, 5<<20))
	req.Header.Set("X-Registry-Config", "e30=")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, _ := io.ReadAll(resp.Body); string(got) != "5242880 [chunked] e30=" {
		t.Errorf("dockerd saw %q", got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestCancelledRequestIsCancelledAtDockerd(t *testing.T) {
	started, cancelled := make(chan struct{}), make(chan struct{})
	_, url := through(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		close(started)
		<-r.Context().Done()
		close(cancelled)
	})
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, url+"/containers/x/stats", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	<-started
	cancel()
	select {
	case <-cancelled:
	case <-time.After(10 * time.Second):
		t.Error("dockerd still serves a client that has gone")
	}
}

func TestNoDockerd(t *testing.T) {
	h, err := New("unix:///nonexistent/docker.sock", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/containers/json", "/containers/x/attach"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil))
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "Cannot connect to the Docker daemon at unix:///nonexistent/docker.sock") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestNewRefusesWhatItCannotReach(t *testing.T) {
	for _, host := range []string{"ssh://example.com", "nonsense", "npipe:////./pipe/docker"} {
		if _, err := New(host, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("docker host %q was taken", host)
		}
	}
}

func BenchmarkPassThrough(b *testing.B) {
	answer := func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, `{"ApiVersion":"1.41"}`) }
	_, url := through(b, answer)
	direct := httptest.NewServer(http.HandlerFunc(answer))
	defer direct.Close()
	for name, url := range map[string]string{"direct": direct.URL, "through": url} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				resp, err := http.Get(url + "/version")
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
}
