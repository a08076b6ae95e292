package api

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/containerd/errdefs"
	timetypes "github.com/docker/docker/api/types/time"
	"github.com/docker/docker/api/types/versions"
	"golang.org/x/sync/errgroup"

	"orch/internal/bus"
	"orch/internal/store"
)

// maxFrame bounds a frame, so that a torn stream is not taken for one of gigabytes.
const maxFrame = 16 << 20

func (a *API) serviceLogs(w http.ResponseWriter, r *http.Request) error {
	req, err := logRequest(r)
	if err != nil {
		return err
	}
	s, err := findService(a.Store.View(), id(r))
	if err != nil {
		return err
	}
	tty := s.Spec.TaskTemplate.ContainerSpec != nil && s.Spec.TaskTemplate.ContainerSpec.TTY
	return a.logs(w, r, req, tty, store.OfService(s.ID), "")
}

func (a *API) taskLogs(w http.ResponseWriter, r *http.Request) error {
	req, err := logRequest(r)
	if err != nil {
		return err
	}
	t, err := findTask(a.Store.View(), id(r))
	if err != nil {
		return err
	}
	tty := t.Spec.ContainerSpec != nil && t.Spec.ContainerSpec.TTY
	return a.logs(w, r, req, tty, store.OfService(t.ServiceID), t.ID)
}

func (a *API) logs(w http.ResponseWriter, r *http.Request, req bus.LogRequest, tty bool, by store.By, only string) error {
	kind := "application/vnd.docker.multiplexed-stream"
	if tty {
		kind = "application/vnd.docker.raw-stream"
	}
	if !versions.LessThan(engineOf(r).APIVersion, v23) { // older ones do not say
		w.Header().Set("Content-Type", kind)
	}
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	m := &merge{api: a, req: req, tty: tty, by: by, only: only, out: w}
	// The answer has begun: an error can only end it.
	if err := m.run(r.Context()); err != nil && r.Context().Err() == nil {
		a.Log.Debug("a log stream broke off", "error", err)
	}
	return nil
}

func logRequest(r *http.Request) (bus.LogRequest, error) {
	q := r.URL.Query()
	req := bus.LogRequest{
		Stdout: flag(r, "stdout"), Stderr: flag(r, "stderr"), Follow: flag(r, "follow"), Timestamps: flag(r, "timestamps"),
		Details: flag(r, "details"), Since: q.Get("since"), Until: q.Get("until"), Tail: q.Get("tail"),
	}
	if !req.Stdout && !req.Stderr {
		const text = "Bad parameters: you must choose at least one stream"
		return req, invalid(text).before(v23, text).once(errdefs.ErrUnknown)
	}
	if req.Tail != "" && req.Tail != "all" {
		switch n, err := strconv.Atoi(req.Tail); {
		case err != nil:
			return req, refuse(errdefs.ErrUnknown, `tail value must be a positive integer or "all"`)
		case n < 0:
			return req, refuse(errdefs.ErrUnknown, "negative tail values not supported")
		}
	}
	if _, _, err := timetypes.ParseTimestamps(req.Since, 0); err != nil {
		return req, refuse(errdefs.ErrUnknown, "could not parse since timestamp: %v", err)
	}
	return req, nil
}

// merge puts the logs of several tasks together, frame by frame as they come.
type merge struct {
	api  *API
	req  bus.LogRequest
	tty  bool
	by   store.By
	only string // the task, where it is about one

	// mu guards out: a frame is written whole.
	mu  sync.Mutex
	out http.ResponseWriter
}

func (m *merge) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	watch, view := m.api.Store.Watch(store.KindTask)
	defer watch.Close()
	started := map[string]bool{}
	start := func(v *store.View) {
		for _, t := range v.Tasks(m.by) {
			if started[t.ID] || !t.Assigned() || m.only != "" && t.ID != m.only {
				continue
			}
			started[t.ID] = true
			group.Go(func() error { return m.task(ctx, t) })
		}
	}
	start(view)
	if m.req.Follow && m.only == "" {
		group.Go(func() error {
			for {
				select {
				case <-watch.C():
					watch.Take()
					start(m.api.Store.View())
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
	}
	return group.Wait()
}

// task copies one task's log. One that cannot be read any more (its container
// is gone, its node is down) does not end the others.
func (m *merge) task(ctx context.Context, t *store.Task) error {
	req := m.req
	req.TaskID = t.ID
	body, err := m.api.Logs(ctx, t.NodeID, req)
	if err == nil {
		defer body.Close()
		if m.tty {
			_, err = io.Copy(raw{m}, body)
		} else {
			err = m.frames(body)
		}
	}
	if err != nil && !errors.Is(err, errClient) {
		m.api.Log.Debug("logs of a task are incomplete", "task", t.ID, "node", t.NodeID, "error", err)
		return nil
	}
	return err
}

func (m *merge) frames(body io.Reader) error {
	frame := make([]byte, 8)
	for {
		if _, err := io.ReadFull(body, frame[:8]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read a log frame: %w", err)
		}
		size := binary.BigEndian.Uint32(frame[4:8])
		if size > maxFrame {
			return fmt.Errorf("read a log frame: %d bytes are too many", size)
		}
		if cap(frame) < 8+int(size) {
			frame = append(make([]byte, 0, 8+int(size)), frame[:8]...)
		}
		frame = frame[:8+int(size)]
		if _, err := io.ReadFull(body, frame[8:]); err != nil {
			return fmt.Errorf("read a log frame: %w", err)
		}
		if err := m.write(frame); err != nil {
			return err
		}
	}
}

// errClient says that the reader has gone away.
var errClient = errors.New("the client does not read the logs any more")

func (m *merge) write(p []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.out.Write(p); err != nil {
		return errClient
	}
	if err := http.NewResponseController(m.out).Flush(); err != nil {
		return errClient
	}
	return nil
}

// raw writes the log of a task with a terminal.
type raw struct{ m *merge }

func (r raw) Write(p []byte) (int, error) {
	if err := r.m.write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}
