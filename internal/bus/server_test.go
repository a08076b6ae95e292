package bus_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"orch/internal/bus"
	"orch/internal/bus/bustest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(m.Run()) // the fuzzer's own goroutines would count as leaks
	}
	goleak.VerifyTestMain(m)
}

func TestStateSurvivesRestart(t *testing.T) {
	c := bustest.New(t)
	began := time.Now()
	s := c.Start(t)
	t.Logf("first start: %s", time.Since(began))
	stream := state(t, s)
	if _, err := stream.Publish(t.Context(), bus.StateSubject("task.a"), []byte("1")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		bustest.Stop(t, s)
		began = time.Now()
		s = c.Start(t)
		t.Logf("restart: %s", time.Since(began))
		if got := last(t, s, "task.a"); got != "1" {
			t.Fatalf("after the restart: %q", got)
		}
	}
}

// What a kill -9 leaves behind is what is on the disk at that moment.
func TestStateSurvivesKill(t *testing.T) {
	c := bustest.New(t)
	s := c.Start(t)
	if _, err := state(t, s).Publish(t.Context(), bus.StateSubject("task.a"), []byte("1")); err != nil {
		t.Fatal(err)
	}
	killed := bustest.Copy(t, c.Config.Dir)
	bustest.Stop(t, s)
	c.Config.Dir = killed
	began := time.Now()
	if got := last(t, c.Start(t), "task.a"); got != "1" {
		t.Fatalf("after the kill: %q", got)
	}
	t.Logf("restart: %s", time.Since(began))
}

func TestFoundingThatWasCutShortBeginsAnew(t *testing.T) {
	c := bustest.New(t)
	s := c.Start(t)
	bustest.Stop(t, s)
	if err := os.Remove(filepath.Join(c.Config.Dir, "founded")); err != nil {
		t.Fatal(err)
	}
	c.Start(t)
}

func TestStartRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, cfg *bus.ServerConfig)
		want  string
	}{
		"a directory without a cluster": {func(t *testing.T, cfg *bus.ServerConfig) { cfg.Founding = false }, "holds no cluster"},
		"a file in the directory's place": {func(t *testing.T, cfg *bus.ServerConfig) {
			cfg.Dir = filepath.Join(cfg.Dir, "file")
			if err := os.WriteFile(cfg.Dir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a directory"},
		"a full disk":          {func(t *testing.T, cfg *bus.ServerConfig) { fill(t, cfg.Dir) }, "no space left"},
		"another cluster's ID": {func(t *testing.T, cfg *bus.ServerConfig) { bustest.Stop(t, start(t, *cfg)); cfg.ClusterID = "other" }, "of cluster " + bustest.ClusterID},
		"state that is gone": {func(t *testing.T, cfg *bus.ServerConfig) {
			bustest.Stop(t, start(t, *cfg))
			if err := os.RemoveAll(filepath.Join(cfg.Dir, "jetstream", "ORCH")); err != nil {
				t.Fatal(err)
			}
		}, "missing or unreadable"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := bustest.New(t).Config
			c.spoil(t, &cfg)
			s, err := bus.Start(t.Context(), cfg)
			if err == nil {
				bustest.Stop(t, s)
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), cfg.Dir) {
				t.Errorf("error %q must name %q and %q", err, cfg.Dir, c.want)
			}
		})
	}
}

// fill makes a directory a file system with hardly any room.
func fill(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Skipf("no small file system to test with: mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

func start(t *testing.T, cfg bus.ServerConfig) *bus.Server {
	t.Helper()
	s, err := bus.Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func state(t *testing.T, s *bus.Server) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(s.State())
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func last(t *testing.T, s *bus.Server, key string) string {
	t.Helper()
	stream, err := state(t, s).Stream(t.Context(), bus.StateStream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(t.Context(), bus.StateSubject(key))
	if err != nil {
		t.Fatal(err)
	}
	return string(m.Data)
}
