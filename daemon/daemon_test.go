package daemon

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"orch/internal/identity"
)

func TestAddressesAreReadAsSwarmReadsThem(t *testing.T) {
	for in, want := range map[string]string{
		"":                "0.0.0.0:2377",
		"0.0.0.0":         "0.0.0.0:2377",
		"0.0.0.0:2377":    "0.0.0.0:2377",
		"192.0.2.1":       "192.0.2.1:2377",
		"192.0.2.1:7000":  "192.0.2.1:7000",
		":7000":           "0.0.0.0:7000",
		"lo:7000":         "", // loopback addresses are not what others reach a machine by
		"2001:db8::1":     "[2001:db8::1]:2377",
		"[2001:db8::1]:9": "[2001:db8::1]:9",
		"nosuch0":         "",
		"192.0.2.1:http":  "",
		"192.0.2.1:70000": "",
	} {
		got, err := address(in, defaultPort)
		if want == "" {
			if err == nil {
				t.Errorf("%q was read as %s", in, got)
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("%q is %s (%v), want %s", in, got, err, want)
		}
	}
}

func TestMembershipIsRemembered(t *testing.T) {
	f := files{dir: t.TempDir()}
	if m, c, err := f.load(nil); m != nil || c != nil || err != nil {
		t.Fatalf("a new directory holds %+v, %v", m, err)
	}
	m := &membership{NodeID: "n", ClusterID: "c", Manager: true, ListenAddr: "0.0.0.0:2377", AdvertiseAddr: "192.0.2.1:2377", DataPathAddr: "192.0.2.1"}
	c, certPEM, keyPEM, err := foundingCredentials(f, m, swarm.CAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.save(m, c, certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	got, creds, err := f.load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("membership (-want +got):\n%s", diff)
	}
	if !creds.seal.Equal(c.seal) || creds.node.Peer() != c.node.Peer() {
		t.Error("the credentials are others")
	}
	secretsAreTheOwners(t, filepath.Join(f.dir, clusterDir))
	renewal(t, f, c)
	if err := f.remove(); err != nil {
		t.Fatal(err)
	}
	if m, _, err := f.load(nil); m != nil || err != nil {
		t.Errorf("after leaving: %+v, %v", m, err)
	}
}

func secretsAreTheOwners(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{nodeFile, sealFile, stateFile, lockFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
	}
}

// renewal replaces certificate and key in one.
func renewal(t *testing.T, f files, c *credentials) {
	t.Helper()
	r, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	certPEM, err := c.ca.Sign(r.CSR(), c.node.Peer(), 2*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, err := r.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.saver(c)(c.ca.TrustPEM(), certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	_, after, err := f.load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(after.node.Expires()); left > 2*time.Hour+time.Minute {
		t.Errorf("the certificate on disk expires in %s", left)
	}
}

func TestATornStateFileIsNamed(t *testing.T) {
	f := files{dir: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(f.dir, clusterDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.path(stateFile), []byte(`{"NodeID": "n`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.load(nil); err == nil || !strings.Contains(err.Error(), f.path(stateFile)) {
		t.Errorf("a torn file: %v", err)
	}
}

// run starts a daemon whose dockerd is not there, and gives a client of its socket.
func run(t *testing.T) (dir string, get func(method, path string) (int, string)) {
	t.Helper()
	dir = t.TempDir()
	socket := filepath.Join(dir, "orch.sock")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{DataDir: filepath.Join(dir, "data"), Socket: socket, DockerHost: "unix://" + filepath.Join(dir, "none.sock"), Log: slog.New(slog.DiscardHandler)})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	get = func(method, path string) (int, string) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for {
			req, _ := http.NewRequestWithContext(t.Context(), method, "http://docker"+path, strings.NewReader("{}"))
			req.Header.Set("Content-Type", "application/json")
			resp, err := transport.RoundTrip(req)
			if err == nil {
				defer resp.Body.Close()
				body, _ := io.ReadAll(resp.Body)
				return resp.StatusCode, string(body)
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	return dir, get
}

func TestOutsideAClusterTheSwarmHalfSaysSoAndTheRestGoesToDockerd(t *testing.T) {
	_, get := run(t)
	for _, c := range []struct {
		method, path, want string
		status             int
	}{
		{"GET", "/v1.41/services", "This node is not a swarm manager. Use \"docker swarm init\"", 503},
		{"GET", "/nodes", "This node is not a swarm manager", 503},
		{"POST", "/swarm/leave", "This node is not part of a swarm", 503},
		{"POST", "/swarm/init", "the Docker Engine at unix://", 503},
		{"POST", "/swarm/unlock", "This node is not a swarm manager", 503},
		{"GET", "/containers/json", "Cannot connect to the Docker daemon at unix://", 503},
	} {
		status, body := get(c.method, c.path)
		var message struct{ Message string }
		if err := json.Unmarshal([]byte(body), &message); err != nil || status != c.status || !strings.HasPrefix(message.Message, c.want) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, status, body, c.status, c.want)
		}
	}
}

func TestASecondDaemonIsRefused(t *testing.T) {
	dir, get := run(t)
	get("GET", "/nodes") // it is up
	cfg := Config{DataDir: filepath.Join(dir, "data"), Socket: filepath.Join(dir, "other.sock"), DockerHost: "unix:///none", Log: slog.New(slog.DiscardHandler)}
	if err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "another orch daemon uses the data directory") {
		t.Errorf("same directory: %v", err)
	}
	cfg.DataDir, cfg.Socket = filepath.Join(dir, "data2"), filepath.Join(dir, "orch.sock")
	if err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "another process serves") {
		t.Errorf("same socket: %v", err)
	}
}

func TestTheSocketIsNotForEverybody(t *testing.T) {
	dir, get := run(t)
	get("GET", "/nodes")
	info, err := os.Stat(filepath.Join(dir, "orch.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o660 {
		t.Errorf("the socket has mode %o", info.Mode().Perm())
	}
}
