package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"
)

const (
	// idleFor is how long the daemon's use of the processor is looked at.
	idleFor = 20 * time.Second
	// ticks is how many of /proc's clock ticks are in a second, on every Linux that Go runs on.
	ticks = 100
	// requests are made for each list whose answers are timed.
	requests = 300
)

// idle looks at what the daemon takes while twenty tasks just run, and at the size of the program.
func idle(ctx context.Context, b *bench, t trio) error {
	id, _, err := t.orch.start(ctx, service("idle", 20))
	if err != nil {
		return err
	}
	pid := t.orch.daemon.Process.Pid
	before, err := cpu(pid)
	if err != nil {
		return err
	}
	select {
	case <-time.After(idleFor):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := cpu(pid)
	if err != nil {
		return err
	}
	rss, err := memory(pid)
	if err != nil {
		return err
	}
	b.report(figure{name: "memory (RSS) with 20 idle tasks", value: rss, target: 90, unit: "MB"})
	b.report(figure{name: "processor with 20 idle tasks", value: 100 * (after - before).Seconds() / idleFor.Seconds(), target: 1, unit: "%"})
	size, err := os.Stat(b.orch)
	if err != nil {
		return err
	}
	b.report(figure{name: "size of the program", value: float64(size.Size()) / 1e6, target: 60, unit: "MB"})
	_, err = t.orch.remove(ctx, id)
	return err
}

// cpu is the processor time that a process has used.
func cpu(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in brackets may hold anything; utime and stime are the 12th and 13th field after it.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, err := strconv.Atoi(f[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(f[12])
	return time.Duration(user+system) * time.Second / ticks, err
}

// memory is a process's resident set in MB.
func memory(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}

// reads times the two lists that every client asks for, with 1,000 services of 5 tasks that no node can take.
func reads(ctx context.Context, b *bench, t trio) error {
	for _, c := range []*cluster{t.orch, t.swarm} {
		if err := c.fill(ctx, 1000, 5); err != nil {
			return err
		}
	}
	for _, list := range []string{"services", "tasks"} {
		own, err := t.orch.get(ctx, "/"+list)
		if err != nil {
			return err
		}
		peer, err := t.swarm.get(ctx, "/"+list)
		if err != nil {
			return err
		}
		b.report(figure{name: "GET /" + list + " with 1,000 services, 5,000 tasks, p99", value: percentile(own, 0.99) * 1000, target: 20, unit: "ms", peer: "swarm", other: percentile(peer, 0.99) * 1000})
	}
	return nil
}

func (c *cluster) fill(ctx context.Context, services int, replicas uint64) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := range services {
		group.Go(func() error {
			s := service(fmt.Sprintf("fill-%d", i), replicas)
			s.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.labels.nowhere==true"}}
			_, err := c.api.ServiceCreate(gctx, s, swarm.ServiceCreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("fill the cluster: %w", err)
	}
	return wait(ctx, func() (bool, error) {
		tasks, err := c.api.TaskList(ctx, swarm.TaskListOptions{})
		return len(tasks) >= services*int(replicas), err
	})
}

// get times requests one after the other, to the last byte of the answer.
func (c *cluster) get(ctx context.Context, path string) ([]time.Duration, error) {
	h := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
	}}}
	defer h.CloseIdleConnections()
	var took []time.Duration
	for range requests {
		begin := time.Now()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/v1.41"+path, nil)
		if err != nil {
			return nil, err
		}
		resp, err := h.Do(req)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("GET %s: %s: %w", path, resp.Status, err)
		}
		took = append(took, time.Since(begin))
	}
	return took, nil
}
