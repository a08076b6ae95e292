package sim

import (
	"bytes"
	"context"
	"io"
	"maps"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"orch/worker/engine"
)

// streamDepth is how many events a slow listener may be behind before its stream ends.
const streamDepth = 1024

// stream is one listener to events.
type stream struct {
	label string
	ch    chan engine.Event
}

// Events tells what happens to containers with a label.
func (e *Engine) Events(ctx context.Context, label string) (<-chan engine.Event, error) {
	if err := e.begin(ctx, "events", 0); err != nil {
		return nil, err
	}
	s := &stream{label: label, ch: make(chan engine.Event, streamDepth)}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.streams[s] = true
	context.AfterFunc(ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.closeStream(s)
	})
	return s.ch, nil
}

// emit tells the listeners. The caller holds mu.
func (e *Engine) emit(p *process, kind engine.EventKind) {
	ev := engine.Event{ID: p.ID, Labels: maps.Clone(p.Labels), Kind: kind, ExitCode: p.ExitCode}
	for s := range e.streams {
		if _, ok := p.Labels[s.label]; !ok {
			continue
		}
		select {
		case s.ch <- ev:
		default:
			e.closeStream(s)
		}
	}
}

func (e *Engine) closeStreams() {
	for s := range e.streams {
		e.closeStream(s)
	}
}

func (e *Engine) closeStream(s *stream) {
	if e.streams[s] {
		delete(e.streams, s)
		close(s.ch)
	}
}

// Logs is what a container has written so far.
func (e *Engine) Logs(ctx context.Context, id string, o container.LogsOptions) (io.ReadCloser, error) {
	if err := e.begin(ctx, "logs", 0); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.find(id)
	if p == nil {
		return nil, noContainer(id)
	}
	var out bytes.Buffer
	w := io.Writer(&out)
	if !p.TTY {
		w = stdcopy.NewStdWriter(&out, stdcopy.Stdout)
	}
	for line := range bytes.Lines(p.output) {
		if o.Details {
			line = append([]byte(" "), line...)
		}
		_, _ = w.Write(line) // a buffer does not fail
	}
	return io.NopCloser(&out), nil
}

// Exec runs a command: "exit N" ends with N, anything else with 0 and its words as output.
func (e *Engine) Exec(ctx context.Context, id string, o container.ExecOptions) (engine.Exec, error) {
	if err := e.begin(ctx, OpExec, 0); err != nil {
		return engine.Exec{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.find(id)
	if p == nil {
		return engine.Exec{}, noContainer(id)
	}
	if !p.Running() {
		return engine.Exec{}, &failure{text: "Container " + id + " is not running", is: engine.ErrConflict}
	}
	return run(o.Cmd), nil
}
