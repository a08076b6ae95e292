package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
	"github.com/gorilla/mux"

	"orch/internal/store"
	"orch/manager/api"
)

// The cluster that the dashboard is to be quick with, and how much goes on in it.
const (
	uiNodes, uiServices, uiTasks = 100, 1000, 10_000
	uiChanges                    = 500 // per second
	uiBatch                      = 10  // changes in one write, as a leader makes them
	uiKeys                       = 300
	uiIdle                       = 5 * time.Second
	uiLimit                      = 20 * time.Second // for anything to be seen
)

// ui measures `orch ui` in a terminal of its own, against orch's API on a simulated cluster.
func ui(ctx context.Context, b *bench) error {
	dir, err := os.MkdirTemp("", "orch-bench-ui-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := simulated(ctx, filepath.Join(dir, "api.sock"))
	if err != nil {
		return err
	}
	for _, f := range []struct {
		view, what, name string
		target           float64
	}{
		{"services", "1000 services", "ui: first frame with 1,000 services", 0.15},
		{"tasks", "web0.2", "ui: first frame of 10,000 tasks", 1},
	} {
		var took []time.Duration
		for range rounds {
			d, err := dashboard(ctx, b.orch, dir, f.view)
			if err != nil {
				return err
			}
			at, err := d.sees(ctx, f.what)
			if err := errors.Join(err, d.end()); err != nil {
				return err
			}
			took = append(took, at.Sub(d.began))
		}
		b.report(figure{name: f.name, value: median(took), target: f.target, unit: "s"})
	}
	d, err := dashboard(ctx, b.orch, dir, "tasks")
	if err != nil {
		return err
	}
	return errors.Join(measureUI(ctx, b, s, d), d.end())
}

func measureUI(ctx context.Context, b *bench, s *store.Store, d *terminalOf) error {
	if _, err := d.sees(ctx, "web0.2"); err != nil {
		return err
	}
	cpu, memory, err := d.idle(ctx)
	if err != nil {
		return err
	}
	b.report(figure{name: "ui: idle, of a core", value: cpu * 100, target: 2, unit: "%"})
	b.report(figure{name: "ui: idle, resident", value: memory, target: 80, unit: "MB"})
	busy, stop := context.WithCancel(ctx)
	changing := make(chan error, 1)
	go func() { changing <- churn(busy, s) }()
	keys, err1 := d.keys(ctx)
	seen, err2 := events(ctx, s, d)
	stop()
	if err := errors.Join(err1, err2, <-changing); err != nil {
		return err
	}
	b.report(figure{name: "ui: key to repaint at 500 changes/s, p99", value: percentile(keys, 0.99) * 1000, target: 16, unit: "ms"})
	b.report(figure{name: "ui: event on screen at 500 changes/s, p99", value: percentile(seen, 0.99), target: 0.2, unit: "s"})
	return nil
}

// simulated serves orch's half of the API on a state in memory; the engine's half has nothing in it.
func simulated(ctx context.Context, socket string) (*store.Store, error) {
	s := store.New(store.NewMemLog())
	go s.Run(ctx)
	<-s.Ready()
	if err := fill(ctx, s); err != nil {
		return nil, err
	}
	engine := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var v any = []string{}
		switch {
		case strings.HasSuffix(r.URL.Path, "/_ping"):
			w.Header().Set("Api-Version", api.NewestVersion)
			return
		case strings.HasSuffix(r.URL.Path, "/info"):
			v = system.Info{}
		case strings.HasSuffix(r.URL.Path, "/volumes"):
			v = map[string]any{}
		case strings.HasSuffix(r.URL.Path, "/version"):
			v = types.Version{APIVersion: api.NewestVersion}
		case strings.HasSuffix(r.URL.Path, "/events"):
			<-r.Context().Done()
			return
		case strings.HasSuffix(r.URL.Path, "/usage"):
			usage(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(v)
	})
	a := api.New(api.Config{Store: s, NodeID: "n0", Through: engine, Log: slog.New(slog.DiscardHandler)})
	router := mux.NewRouter()
	router.Path("/v{version:[0-9.]+}/version").HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _ = api.MergeVersion(w, r, engine, "bench") })
	router.Path("/nodes/{id}/usage").Handler(engine)
	a.Register(router)
	router.NotFoundHandler = engine
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: router, ReadHeaderTimeout: limit}
	go func() { _ = server.Serve(l) }()
	context.AfterFunc(ctx, func() { server.Close() })
	go func() { _ = a.Run(ctx) }()
	return s, nil
}

// usage is a node's that has little to say, as often as a real one says it.
func usage(w http.ResponseWriter, r *http.Request) {
	for n := 0; ; n++ {
		fmt.Fprintf(w, `{"At":%q,"Node":{"CPU":%d,"Memory":1000000}}`+"\n", time.Now().Format(time.RFC3339Nano), n*1e8)
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-time.After(2 * time.Second):
		case <-r.Context().Done():
			return
		}
	}
}

// taskID is as long as a real one, and begins no other.
func taskID(n int) string { return fmt.Sprintf("task%021d", n) }

func fill(ctx context.Context, s *store.Store) error {
	return s.Update(ctx, func(tx *store.Tx) error {
		for i := range uiNodes {
			n := &store.Node{}
			n.ID, n.Description.Hostname, n.Status.State = fmt.Sprintf("n%d", i), fmt.Sprintf("host%d", i), swarm.NodeStateReady
			tx.Put(n)
		}
		for i := range uiServices {
			replicas := uint64(uiTasks / uiServices)
			v := &store.Service{}
			v.ID, v.Spec.Name = fmt.Sprintf("s%d", i), fmt.Sprintf("web%d", i)
			v.Spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &replicas}
			v.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "shop/web:1", Env: []string{"A=1", "B=2"}}
			tx.Put(v)
			for j := range uiTasks / uiServices {
				t := &store.Task{ServiceName: v.Spec.Name}
				t.ID, t.ServiceID, t.NodeID, t.Slot = taskID(i*10+j), v.ID, fmt.Sprintf("n%d", (i+j)%uiNodes), j+1
				t.Spec, t.DesiredState = v.Spec.TaskTemplate, swarm.TaskStateRunning
				t.Status = swarm.TaskStatus{State: swarm.TaskStateRunning, Timestamp: time.Now(), ContainerStatus: &swarm.ContainerStatus{ContainerID: strings.Repeat("c", 64)}}
				tx.Put(t)
			}
		}
		return nil
	})
}

// churn changes tasks until ctx ends.
func churn(ctx context.Context, s *store.Store) error {
	tick := time.NewTicker(time.Second * uiBatch / uiChanges)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := s.Update(ctx, func(tx *store.Tx) error {
			for range uiBatch {
				t := *tx.Task(taskID(rand.IntN(uiTasks)))
				t.Status.Timestamp, t.Status.Message = time.Now(), "changed"
				tx.Put(&t)
			}
			return nil
		})
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

const letters = "abcdefghijklmnopqrstuvwxyz"

// events times from a write to its words on the screen: errors of the task in the first row.
func events(ctx context.Context, s *store.Store, d *terminalOf) (took []time.Duration, err error) {
	for i := range uiKeys / 10 {
		// Each letter differs from the one before it in its place: a terminal is sent only what differs.
		word := letters[i%13 : i%13+13]
		begin := time.Now()
		err := s.Update(ctx, func(tx *store.Tx) error {
			t := *tx.Task(taskID(0))
			t.Status.Err = word
			tx.Put(&t)
			return nil
		})
		if err != nil {
			return nil, err
		}
		at, err := d.sees(ctx, word)
		if err != nil {
			return nil, err
		}
		took = append(took, at.Sub(begin))
	}
	return took, nil
}

// terminalOf is a dashboard in a pseudo-terminal.
type terminalOf struct {
	cmd   *exec.Cmd
	pty   *os.File
	began time.Time
	out   chan piece
	seen  bytes.Buffer // what was read and not searched yet
}

// piece is output, and when it came.
type piece struct {
	text []byte
	at   time.Time
}

func dashboard(ctx context.Context, orch, dir, view string) (*terminalOf, error) {
	pty, tty, err := pseudoTerminal(200, 60)
	if err != nil {
		return nil, err
	}
	defer tty.Close()
	d := &terminalOf{pty: pty, out: make(chan piece, 1<<16)}
	d.cmd = exec.CommandContext(ctx, orch, "ui", "--view", view)
	d.cmd.Env = append(os.Environ(), "TERM=xterm-256color", "HOME="+dir, "ORCH_HOST=unix://"+filepath.Join(dir, "api.sock"))
	d.cmd.Stdin, d.cmd.Stdout, d.cmd.Stderr = tty, tty, tty
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	d.began = time.Now()
	if err := d.cmd.Start(); err != nil {
		pty.Close()
		return nil, err
	}
	go func() {
		defer close(d.out)
		for {
			buffer := make([]byte, 64<<10)
			n, err := pty.Read(buffer)
			if err != nil {
				return // the dashboard has ended
			}
			d.out <- piece{buffer[:n], time.Now()}
		}
	}()
	return d, nil
}

// sees waits until a text has been written, and says when.
func (d *terminalOf) sees(ctx context.Context, what string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, uiLimit)
	defer cancel()
	for {
		select {
		case p, ok := <-d.out:
			if !ok {
				return time.Time{}, fmt.Errorf("the dashboard ended: %q", d.seen.String())
			}
			d.seen.Write(p.text)
			if i := bytes.Index(d.seen.Bytes(), []byte(what)); i >= 0 {
				d.seen.Next(i + len(what))
				return p.at, nil
			}
			if keep := len(what) + 64; d.seen.Len() > 1<<20 { // long gone
				d.seen.Next(d.seen.Len() - keep)
			}
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%q is not on the screen, but %.2000q: %w", what, d.seen.String(), ctx.Err())
		}
	}
}

// keys times from a key to the cursor's mark on its next row.
func (d *terminalOf) keys(ctx context.Context) (took []time.Duration, err error) {
	for i := range uiKeys {
		key := "j"
		if i%20 >= 10 { // down and up again, so that the rows stay the same
			key = "k"
		}
		for len(d.out) > 0 {
			<-d.out
		}
		d.seen.Reset()
		begin := time.Now()
		if _, err := d.pty.WriteString(key); err != nil {
			return nil, err
		}
		at, err := d.sees(ctx, ">")
		if err != nil {
			return nil, err
		}
		took = append(took, at.Sub(begin))
		select {
		case <-time.After(time.Duration(5+rand.IntN(20)) * time.Millisecond): // not in step with frames
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return took, nil
}

// idle is the share of a core and the megabytes that the dashboard uses while nothing happens.
func (d *terminalOf) idle(ctx context.Context) (cpu, megabytes float64, err error) {
	wait := func() {
		select {
		case <-time.After(uiIdle):
		case <-ctx.Done():
		}
	}
	wait() // until it has settled
	before, err := processTime(d.cmd.Process.Pid)
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	wait()
	after, err := processTime(d.cmd.Process.Pid)
	if err != nil {
		return 0, 0, err
	}
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", d.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	return (after - before).Seconds() / time.Since(begin).Seconds(), float64(pages*os.Getpagesize()) / 1e6, err
}

// processTime is what a process has used of processors.
func processTime(pid int) (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	if err != nil {
		return 0, err
	}
	total := time.Duration(0)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("no threads of process %d: %s", pid, raw)
	}
	for _, t := range tasks {
		raw, err := os.ReadFile(t)
		if err != nil {
			continue // a thread that has ended
		}
		if n, err := strconv.ParseInt(strings.Fields(string(raw))[0], 10, 64); err == nil {
			total += time.Duration(n)
		}
	}
	return total, nil
}

// end quits as a user does.
func (d *terminalOf) end() error {
	defer d.pty.Close()
	if _, err := d.pty.WriteString("q"); err != nil {
		return err
	}
	for range d.out { // a full terminal would hold the program up
	}
	return d.cmd.Wait()
}
