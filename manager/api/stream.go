package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	timetypes "github.com/docker/docker/api/types/time"
	"golang.org/x/sync/errgroup"
)

// window is the part of time that a client wants events of.
type window struct {
	since, until time.Time // zero: from now on, without end
}

func windowOf(r *http.Request) (w window, err error) {
	if w.since, err = moment(r.URL.Query().Get("since")); err != nil {
		return w, err
	}
	w.until, err = moment(r.URL.Query().Get("until"))
	if err == nil && !w.since.IsZero() && !w.until.IsZero() && w.until.Before(w.since) {
		err = invalid("`since` time (%s) cannot be after `until` time (%s)", r.URL.Query().Get("since"), r.URL.Query().Get("until"))
	}
	return w, err
}

func moment(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	seconds, nanos, err := timetypes.ParseTimestamps(s, 0)
	if err != nil {
		return time.Time{}, invalid("%v", err).before(v23, "%v", err).once(errdefs.ErrUnknown)
	}
	return time.Unix(seconds, nanos), nil
}

// streamEvents puts the cluster's events into dockerd's.
func (a *API) streamEvents(w http.ResponseWriter, r *http.Request) error {
	raw := r.URL.Query().Get("filters")
	args, err := filters.FromJSON(raw)
	if err != nil {
		return invalid("%v", err).before(v23, "%v", whyNoFilters(raw, err)).once(errdefs.ErrUnknown)
	}
	span, err := windowOf(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush() // a client waits for the head before it acts
	out := &lines{w: w}
	group, ctx := errgroup.WithContext(r.Context())
	group.Go(func() error { return a.localEvents(r.WithContext(ctx), out) })
	group.Go(func() error { return clusterEvents(ctx, a.events, out, args, span) })
	if args.ExactMatch("type", string(TaskEventType)) && args.Contains("type") {
		group.Go(func() error { return clusterEvents(ctx, a.tasks, out, args, span) })
	}
	// The answer has begun: an error can only end it.
	if err := group.Wait(); err != nil && r.Context().Err() == nil {
		a.Log.Debug("an event stream broke off", "error", err)
	}
	return nil
}

// errMissed ends the stream of a client that reads more slowly than things happen: it has to look at everything again.
var errMissed = errors.New("the client is too slow for the events")

func clusterEvents(ctx context.Context, h *history, out *lines, args filters.Args, span window) error {
	past, next, grown := h.after(0)
	if !span.since.IsZero() {
		if err := writeEvents(out, past, args, span); err != nil {
			return err
		}
	}
	var end <-chan time.Time
	if !span.until.IsZero() {
		timer := time.NewTimer(time.Until(span.until))
		defer timer.Stop()
		end = timer.C
	}
	for {
		select {
		case <-grown:
		case <-end:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		var fresh []events.Message
		seen := next
		if fresh, next, grown = h.after(seen); len(fresh) < next-seen {
			return errMissed
		}
		if err := writeEvents(out, fresh, args, span); err != nil {
			return err
		}
	}
}

func writeEvents(out *lines, all []events.Message, args filters.Args, span window) error {
	for _, m := range all {
		at := time.Unix(0, m.TimeNano)
		if at.Before(span.since) || !span.until.IsZero() && at.After(span.until) || !eventMatches(m, args) {
			continue
		}
		line, err := json.Marshal(m)
		if err != nil {
			return err
		}
		if err := out.write(append(line, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// localEvents copies dockerd's stream line by line.
func (a *API) localEvents(r *http.Request, out *lines) error {
	from, to := io.Pipe()
	go func() {
		defer to.Close()
		// A proxy aborts so when its client goes; here no server is there to take it.
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				panic(p)
			}
		}()
		a.Through.ServeHTTP(&pipeAnswer{header: http.Header{}, body: to}, r)
	}()
	defer from.Close() // dockerd's side sees that nobody reads
	reader := bufio.NewReader(from)
	for {
		line, err := reader.ReadBytes('\n')
		if len(line) > 0 {
			if err := out.write(line); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// pipeAnswer is dockerd's answer while it is still being given.
type pipeAnswer struct {
	header http.Header
	body   io.Writer
}

func (p *pipeAnswer) Header() http.Header { return p.header }

func (p *pipeAnswer) WriteHeader(int) {}

func (p *pipeAnswer) Write(b []byte) (int, error) { return p.body.Write(b) }

// lines writes whole lines of several writers.
type lines struct {
	// mu guards w.
	mu sync.Mutex
	w  http.ResponseWriter
}

func (l *lines) write(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.w.Write(line); err != nil {
		return err
	}
	return http.NewResponseController(l.w).Flush()
}
