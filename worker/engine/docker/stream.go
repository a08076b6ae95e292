package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/docker/go-connections/nat"

	"orch/worker/engine"
)

// kinds are the events that matter, by dockerd's name.
var kinds = map[events.Action]engine.EventKind{
	events.ActionStart:                 engine.Started,
	events.ActionDie:                   engine.Died,
	events.ActionHealthStatusHealthy:   engine.Healthy,
	events.ActionHealthStatusUnhealthy: engine.Unhealthy,
	events.ActionDestroy:               engine.Destroyed,
}

// Events tells what happens to containers with a label.
func (e *Engine) Events(ctx context.Context, label string) (<-chan engine.Event, error) {
	args := filters.NewArgs(filters.Arg("type", string(events.ContainerEventType)), filters.Arg("label", label))
	for _, action := range []events.Action{events.ActionStart, events.ActionDie, events.ActionHealthStatus, events.ActionDestroy} {
		args.Add("event", string(action))
	}
	// dockerd answers just before it listens itself; asking for what has happened since now closes that gap.
	now := time.Now()
	since := fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond())
	messages, failed := e.client.Events(ctx, events.ListOptions{Since: since, Filters: args})
	select {
	case err := <-failed:
		return nil, fmt.Errorf("follow the engine's events: %w", err)
	default:
	}
	out := make(chan engine.Event)
	go func() {
		defer close(out)
		for {
			select {
			case m := <-messages:
				ev, ok := event(m)
				if !ok {
					continue
				}
				select {
				case out <- ev:
				case <-ctx.Done():
					return
				}
			case <-failed: // also when the context ends
				return
			}
		}
	}()
	return out, nil
}

func event(m events.Message) (engine.Event, bool) {
	kind, ok := kinds[m.Action]
	if !ok {
		return engine.Event{}, false
	}
	ev := engine.Event{ID: m.Actor.ID, Labels: m.Actor.Attributes, Kind: kind}
	if kind == engine.Died {
		ev.ExitCode, _ = strconv.Atoi(m.Actor.Attributes["exitCode"])
	}
	return ev, true
}

// Logs is a container's log.
func (e *Engine) Logs(ctx context.Context, id string, o container.LogsOptions) (io.ReadCloser, error) {
	r, err := e.client.ContainerLogs(ctx, id, o)
	if err != nil {
		return nil, plain(err)
	}
	return r, nil
}

// Exec runs a command in a container.
func (e *Engine) Exec(ctx context.Context, id string, o container.ExecOptions) (engine.Exec, error) {
	o.AttachStdout, o.AttachStderr = true, true
	made, err := e.client.ContainerExecCreate(ctx, id, o)
	if err != nil {
		return engine.Exec{}, plain(err)
	}
	conn, err := e.client.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return engine.Exec{}, plain(err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Close)() // reading has no deadline of its own
	var output bytes.Buffer
	w := &head{to: &output}
	if _, err := stdcopy.StdCopy(w, w, conn.Reader); err != nil && ctx.Err() == nil {
		return engine.Exec{}, fmt.Errorf("read the command's output: %w", err)
	}
	ended, err := e.client.ContainerExecInspect(ctx, made.ID)
	if err != nil {
		return engine.Exec{}, plain(err)
	}
	return engine.Exec{ExitCode: ended.ExitCode, Output: output.String()}, nil
}

// head keeps the beginning of what is written and swallows the rest.
type head struct{ to *bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	room := engine.MaxOutput - h.to.Len()
	h.to.Write(p[:min(room, len(p))])
	return len(p), nil
}

// daemonPrefix stands before every error of the API. It says nothing to who reads a task's error.
const daemonPrefix = "Error response from daemon: "

// apiError is an error of the API in dockerd's own words.
type apiError struct {
	text string
	is   []error
}

func (e *apiError) Error() string   { return e.text }
func (e *apiError) Unwrap() []error { return e.is }

// plain is an error in dockerd's own words, and of the kinds that a caller branches on.
func plain(err error) error {
	if err == nil {
		return nil
	}
	e := &apiError{text: strings.TrimPrefix(err.Error(), daemonPrefix)}
	switch {
	case cerrdefs.IsNotFound(err):
		e.is = append(e.is, engine.ErrNotFound)
	case cerrdefs.IsConflict(err):
		e.is = append(e.is, engine.ErrConflict)
	case unavailable(err):
		e.is = append(e.is, engine.ErrUnavailable, err)
	default:
		e.is = append(e.is, err)
	}
	return e
}

// unavailable says that the connection failed, or ended before the answer.
func unavailable(err error) bool {
	return client.IsErrConnectionFailed(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func sorted(m nat.PortMap) []nat.Port {
	out := make([]nat.Port, 0, len(m))
	for p := range m {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}
