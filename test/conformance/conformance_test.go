package conformance

import (
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

	"github.com/google/go-cmp/cmp"

	"orch/test/lab"
)

const (
	// whole asks for every scenario instead of the short ones: make conformance does.
	whole = "ORCH_CONFORMANCE"
	// summary is the file that the last line goes to; transcript a directory for all answers.
	summary    = "ORCH_CONFORMANCE_SUMMARY"
	transcript = "ORCH_CONFORMANCE_TRANSCRIPT"
	// only is a comma-separated list of scenarios.
	only = "ORCH_CONFORMANCE_ONLY"
	// maxPairs is how many scenarios run at the same time: they wait more than they work.
	maxPairs = 4
)

// pair is two clusters of one host each that are asked the same.
type pair struct{ swarm, orch *side }

func TestConformance(t *testing.T) {
	scenarios, err := Load("testdata")
	if err != nil {
		t.Fatal(err)
	}
	scenarios = chosen(scenarios)
	listed, err := Listed(Page)
	if err != nil {
		t.Fatal(err)
	}
	pairs := pairs(t, min(maxPairs, len(scenarios)))
	r := &result{t: t, listed: listed, used: map[string]bool{}}
	var group sync.WaitGroup
	for _, s := range scenarios {
		p := <-pairs
		group.Go(func() {
			defer func() { pairs <- p }()
			r.converse(t.Context(), p, s)
		})
	}
	group.Wait()
	r.finish(os.Getenv(whole) != "" && os.Getenv(only) == "")
}

func chosen(all []Scenario) (some []Scenario) {
	names := strings.Split(os.Getenv(only), ",")
	for _, s := range all {
		byName := false
		for _, name := range names {
			byName = byName || s.Name == name
		}
		if byName || os.Getenv(only) == "" && (s.Short || os.Getenv(whole) != "") {
			some = append(some, s)
		}
	}
	return some
}

// pairs are hosts with a dockerd in swarm mode, and as many whose dockerd has orch beside it.
func pairs(t *testing.T, n int) chan pair {
	t.Helper()
	l := lab.New(t, lab.Config{Hosts: 2 * n})
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	program := program(t)
	all := make(chan pair, n)
	for i := range n {
		swarm, orch := l.Hosts[2*i], l.Hosts[2*i+1]
		all <- pair{swarm: newSide(swarm, strings.TrimPrefix(swarm.DockerHost(), "unix://")), orch: newSide(orch, daemon(t, orch, program))}
	}
	return all
}

// program builds orch.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "orch")
	build := exec.Command("go", "build", "-o", path, "orch/cmd/orch")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build orch: %v: %s", err, out)
	}
	return path
}

// daemon starts orch on a host and returns its socket.
func daemon(t *testing.T, h *lab.Host, program string) string {
	t.Helper()
	socket := filepath.Join(h.Dir, "orch.sock")
	logPath := filepath.Join(h.Dir, "orch.log")
	log, err := os.Create(logPath)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := h.Command(context.WithoutCancel(t.Context()), program, "daemon", "--log-level", "debug", "--data-dir", filepath.Join(h.Dir, "orch"), "--socket", socket, "--docker-host", h.DockerHost())
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }() // it ends with the host
	t.Cleanup(func() {
		b, _ := os.ReadFile(logPath)
		if dir := os.Getenv(transcript); dir != "" {
			_ = os.WriteFile(filepath.Join(dir, h.Name+".orch.log"), b, 0o644)
		}
		if i := strings.Index(string(b), "panic"); i >= 0 {
			t.Errorf("orch on %s panicked:\n%.4000s", h.Name, b[i:])
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return socket
		}
		if time.Now().After(deadline) {
			b, _ := os.ReadFile(logPath)
			t.Fatalf("orch does not start on %s: %s", h.Name, b)
		}
	}
}

// result counts, and tells what differs.
type result struct {
	t      *testing.T
	listed []Difference

	// mu guards what follows.
	mu           sync.Mutex
	all, agree   int
	listedDiffer int
	used         map[string]bool
}

// converse holds one conversation with both sides.
func (r *result) converse(ctx context.Context, p pair, s Scenario) {
	start := time.Now()
	if err := errors.Join(both(func(sd *side) error { return sd.renew(ctx) }, p)...); err != nil {
		r.t.Errorf("%s: %v", s.Name, err)
		return
	}
	var told strings.Builder
	for _, step := range s.Steps {
		began := time.Now()
		want, got := ask(ctx, p, step)
		r.judge(s.Name, step, want, got)
		fmt.Fprintf(&told, "=== %s (%s)\n", step.Text, time.Since(began).Round(time.Millisecond))
		if want == got {
			fmt.Fprintf(&told, "%s\n", want)
		} else {
			fmt.Fprintf(&told, "--- swarm mode\n%s\n--- orch\n%s\n", want, got)
		}
	}
	r.t.Logf("%s: %d steps in %s", s.Name, len(s.Steps), time.Since(start).Round(time.Second/10))
	if dir := os.Getenv(transcript); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, s.Name+".transcript"), []byte(told.String()), 0o644); err != nil {
			r.t.Error(err)
		}
	}
}

// ask puts a step to both sides, again and again if they are to agree in time.
func ask(ctx context.Context, p pair, step Step) (want, got string) {
	deadline := time.Now().Add(waitLimit)
	for {
		answers := make([]string, 2)
		errs := both(func(sd *side) (err error) {
			i := 0
			if sd == p.orch {
				i = 1
			}
			answers[i], err = sd.answer(ctx, step)
			return err
		}, p)
		for i, err := range errs {
			if err != nil {
				answers[i] = fmt.Sprintf("(the step cannot be run: %s) %v", []string{"swarm mode", "orch"}[i], err)
			}
		}
		if answers[0] == answers[1] || !step.Eventually || time.Now().After(deadline) {
			return answers[0], answers[1]
		}
		time.Sleep(pause)
	}
}

func both(do func(*side) error, p pair) []error {
	errs := make([]error, 2)
	var group sync.WaitGroup
	for i, sd := range []*side{p.swarm, p.orch} {
		group.Go(func() { errs[i] = do(sd) })
	}
	group.Wait()
	return errs
}

func (r *result) judge(scenario string, step Step, want, got string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all++
	if want == got && !strings.HasPrefix(want, "(the step cannot be run") {
		r.agree++
		return
	}
	for _, d := range r.listed {
		if d.covers(scenario, step) {
			r.listedDiffer++
			r.used[d.Step] = true
			return
		}
	}
	r.t.Errorf("%s: %s (-swarm mode, +orch):\n%s", scenario, step.Text, cmp.Diff(want, got))
}

func (r *result) finish(complete bool) {
	for _, d := range r.listed {
		if complete && !r.used[d.Step] {
			r.t.Errorf("%s lists `%s`, where nothing differs", Page, d.Step)
		}
	}
	line := fmt.Sprintf("conformance: %d of %d agree, %d listed", r.agree, r.all, r.listedDiffer)
	r.t.Log(line)
	if path := os.Getenv(summary); path != "" {
		if err := os.WriteFile(path, []byte(line+"\n"), 0o644); err != nil {
			r.t.Error(err)
		}
	}
}
