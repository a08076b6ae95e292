// Package traffic is the clients of a service under test: a steady load of requests over kept and over fresh connections, and a
// count of those that failed. It knows HTTP and nothing of orch.
package traffic

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// every is the pause between two requests of one client: steady load, not a flood that starves what is measured.
	every = 20 * time.Millisecond
	// patience is how long a client waits for an answer before it counts as a failed request.
	patience = 3 * time.Second
	// clients is how many there are of each kind, keep-alive and fresh connections.
	clients = 4
	// kept is how many failures are told in words.
	kept = 5
)

// Load is a steady load on one URL by several clients.
type Load struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu     sync.Mutex // guards result
	result Result
}

// Dialer connects as a program of some host.
type Dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// Start puts load on a URL from each of the places until stopped. Half of the clients open a connection for each request, half keep theirs.
// A request on a kept connection that the server has just closed is sent again by net/http, as the protocol
// asks of clients (RFC 9110, 9.2.2).
func Start(ctx context.Context, url string, from ...Dialer) *Load {
	ctx, stop := context.WithCancel(ctx)
	t := &Load{stop: stop}
	for _, dial := range from {
		for i := range 2 * clients {
			h := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: i%2 == 0}}
			t.done.Go(func() { t.client(ctx, h, url) })
		}
	}
	return t
}

func (t *Load) client(ctx context.Context, h *http.Client, url string) {
	defer h.CloseIdleConnections()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		begin := time.Now()
		err := request(h, url)
		t.note(err, time.Since(begin))
	}
}

// request is not bound to the load's end: one that is under way then is no failure.
func request(h *http.Client, url string) error {
	resp, err := h.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || len(body) == 0) {
		err = fmt.Errorf("%s, %d bytes", resp.Status, len(body))
	}
	return err
}

func (t *Load) note(err error, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &t.result
	r.Requests++
	r.Slowest = max(r.Slowest, took)
	if err == nil {
		return
	}
	r.Failed++
	if len(r.Errors) < kept {
		r.Errors = append(r.Errors, fmt.Sprintf("%s: %v", time.Now().Format(time.TimeOnly), err))
	}
}

// Result is how a load went.
type Result struct {
	Requests, Failed int
	Slowest          time.Duration
	Errors           []string // the first few
}

// End stops the load.
func (t *Load) End() Result {
	t.stop()
	t.done.Wait()
	return t.result
}
