package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"orch/test/lab"
)

const (
	// overheadRounds are how often each call is made on both sockets, in turn.
	overheadRounds = 2000
	// loopFor is how long a client's loop is kept up.
	loopFor = 10 * time.Second
	// waitPeriod is the docker CLI's while it waits for a service; each round asks three things.
	waitPeriod = 200 * time.Millisecond
	// removePeriod is the pace of docker stack rm, which asks without a pause: about 700 times a second.
	removePeriod = time.Second / 700
)

// passthrough measures what orch's socket costs: calls that it passes on to dockerd, and the loops of clients that wait.
func passthrough(ctx context.Context, b *bench) error {
	l, err := lab.Up(ctx, lab.Config{Hosts: 1})
	if err != nil {
		return err
	}
	return errors.Join(measureSocket(ctx, b, l), l.Down())
}

func measureSocket(ctx context.Context, b *bench, l *lab.Lab) error {
	if err := l.Load(ctx); err != nil {
		return err
	}
	orch, err := startOrch(ctx, l.Hosts[0], b.orch)
	if err != nil {
		return err
	}
	spec := service("web", 3)
	spec.Labels = map[string]string{"com.docker.stack.namespace": "app"}
	id, _, err := orch.start(ctx, spec)
	if err != nil {
		return err
	}
	for _, path := range []string{"/volumes", "/containers/json", "/images/json"} {
		if err := overhead(ctx, b, orch, path); err != nil {
			return err
		}
	}
	waiting := []string{
		"/services/" + id + "?insertDefaults=false",
		"/tasks?filters=" + url.QueryEscape(`{"_up-to-date":{"true":true},"service":{"`+id+`":true}}`),
		"/nodes",
	}
	if err := loop(ctx, b, orch, "a CLI that waits for a service", waitPeriod, waiting); err != nil {
		return err
	}
	removing := []string{"/tasks?filters=" + url.QueryEscape(`{"label":{"com.docker.stack.namespace=app":true}}`)}
	return loop(ctx, b, orch, "docker stack rm, 700 requests a second", removePeriod, removing)
}

// overhead compares a call through orch with the same to dockerd itself.
func overhead(ctx context.Context, b *bench, c *cluster, path string) error {
	through, direct := over(c.socket), over(c.host.Dir+"/docker.sock")
	defer through.CloseIdleConnections()
	defer direct.CloseIdleConnections()
	var own, floor []time.Duration
	for range overheadRounds {
		for h, into := range map[*http.Client]*[]time.Duration{through: &own, direct: &floor} {
			begin := time.Now()
			if err := fetch(ctx, h, path); err != nil {
				return err
			}
			*into = append(*into, time.Since(begin))
		}
	}
	own50, floor50 := median(own)*1000, median(floor)*1000
	b.report(figure{name: "overhead of GET " + path + ", p50", value: own50 - floor50, target: 0.3, unit: "ms", beside: fmt.Sprintf("%.3f ms through orch, %.3f ms direct", own50, floor50)})
	return nil
}

// loop makes a client's requests at its pace and looks at what the daemon takes for them.
func loop(ctx context.Context, b *bench, c *cluster, what string, period time.Duration, paths []string) error {
	h := over(c.socket)
	defer h.CloseIdleConnections()
	pid := c.daemon.Process.Pid
	before, err := cpu(pid)
	if err != nil {
		return err
	}
	made := 0
	tick := time.NewTicker(period)
	defer tick.Stop()
	begin := time.Now()
	for time.Since(begin) < loopFor {
		for _, path := range paths {
			if err := fetch(ctx, h, path); err != nil {
				return err
			}
			made++
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	took := time.Since(begin)
	after, err := cpu(pid)
	if err != nil {
		return err
	}
	b.report(figure{name: "processor for " + what, value: 100 * (after - before).Seconds() / took.Seconds(), target: 5, unit: "%", beside: fmt.Sprintf("%.0f requests/s", float64(made)/took.Seconds())})
	return nil
}

func over(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
}

func fetch(ctx context.Context, h *http.Client, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/v1.41"+path, nil)
	if err != nil {
		return err
	}
	resp, err := h.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %w", path, resp.Status, err)
	}
	return nil
}
