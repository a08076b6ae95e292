package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
)

// daemonEnv makes the test's program a daemon: with these settings, in JSON.
const daemonEnv = "ORCH_TEST_DAEMON"

// TestMain lets a test kill a daemon, or stop it, which takes a process of its own.
func TestMain(m *testing.M) {
	settings := os.Getenv(daemonEnv)
	if settings == "" {
		os.Exit(m.Run())
	}
	var cfg Config
	if err := json.Unmarshal([]byte(settings), &cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	if err := Run(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// newProcess is a machine whose daemon is a process of its own.
func newProcess(t *testing.T) *machine {
	t.Helper()
	m := describeMachine(t)
	settings := encoded(t, Config{DataDir: m.dataDir(), Socket: m.socket(), DockerHost: m.engine})
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), daemonEnv+"="+settings)
	cmd.Stderr = m.log
	// It must not outlive a test that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	m.process = cmd.Process
	m.stop = func() {
		m.stop = nil
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}
	m.starts++
	m.awaitReadyDaemon()
	return m
}

func (m *machine) signal(s os.Signal) {
	m.t.Helper()
	if err := m.process.Signal(s); err != nil {
		m.t.Fatal(err)
	}
}
