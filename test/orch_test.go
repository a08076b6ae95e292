package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"orch/test/lab"
)

// step bounds one command of a test.
const step = 2 * time.Minute

// binDir is where program builds; TestMain makes and removes it.
var binDir string

// program is orch, built once for all tests.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binDir, "orch")
	cmd := exec.Command("go", "build", "-o", path, "orch/cmd/orch")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build orch: %w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "orch-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// node is orch on a host of the lab, used through its command line.
type node struct {
	*lab.Host
	t *testing.T
}

func (n node) socket() string  { return filepath.Join(n.Dir, "orch.sock") }
func (n node) dataDir() string { return filepath.Join(n.Dir, "orch") }

// try runs orch on the host and returns its output and exit code.
func (n node) try(args ...string) (stdout, stderr string, code int) {
	n.t.Helper()
	path, err := program()
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(n.t.Context(), step)
	defer cancel()
	cmd := n.Command(ctx, append([]string{path, "-H", "unix://" + n.socket()}, args...)...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err = cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		n.t.Fatalf("orch %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), problems.String(), cmd.ProcessState.ExitCode()
}

// orch runs a command that has to succeed.
func (n node) orch(args ...string) string {
	n.t.Helper()
	out, problems, code := n.try(args...)
	if code != 0 {
		n.t.Fatalf("orch %s: exit code %d\n%s%s\nthe daemon's log:\n%s", strings.Join(args, " "), code, out, problems, n.log())
	}
	return out
}

func (n node) log() string {
	b, err := os.ReadFile(filepath.Join(n.dataDir(), "daemon.log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}

// start makes the host a cluster of one.
func start(t *testing.T, h *lab.Host) node {
	n := node{h, t}
	n.orch(n.initArgs()...)
	return n
}

func (n node) initArgs() []string {
	return []string{"init", "--supervisor", "process", "--data-dir", n.dataDir(), "--docker-host", n.DockerHost(), "--advertise-addr", n.Addr}
}

// file writes a compose file and returns its path.
func (n node) file(name, text string) string {
	path := filepath.Join(n.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
	return path
}

// eventually waits for what comes by itself.
func eventually(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}
