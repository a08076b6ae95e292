package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"orch/tui/logstream"
)

const (
	// gather is how long log lines wait for others, so that a flood costs a few frames a second, not one per line.
	gather = 50 * time.Millisecond
	// tail is how much of the past a log begins with, for each service.
	tail = "500"
	// batchLines bounds a batch, and so what a flood keeps in memory; the reader waits, nothing is dropped.
	batchLines = 2000
	// reopenEvery is how long a log that broke off is left alone.
	reopenEvery = 2 * time.Second
)

// Source is what a log is of: one task, or services.
type Source struct {
	Task     string
	Services []string
	Since    string // a duration ago or a time; empty for the last lines
}

// Log is an open log. Lines is closed at its end.
type Log struct {
	Lines <-chan []logstream.Line
	Close context.CancelFunc
}

// OpenLog follows a source until Close or the end of ctx. It returns at once: an error is a line. What breaks off is opened again where
// it broke.
func OpenLog(ctx context.Context, p *Pool, s Source) *Log {
	return Lines(ctx, func(ctx context.Context, out chan<- logstream.Line) error {
		group, ctx := errgroup.WithContext(ctx)
		if s.Task != "" {
			group.Go(func() error { return followLog(ctx, p, s.Task, true, s.Since, out) })
		}
		for _, id := range s.Services {
			group.Go(func() error { return followLog(ctx, p, id, false, s.Since, out) })
		}
		return group.Wait()
	})
}

// Lines is a log of what produce writes.
func Lines(ctx context.Context, produce func(context.Context, chan<- logstream.Line) error) *Log {
	ctx, cancel := context.WithCancel(ctx)
	batches, lines := make(chan []logstream.Line), make(chan logstream.Line, batchLines)
	go func() {
		defer close(lines)
		if err := produce(ctx, lines); err != nil && ctx.Err() == nil {
			say(ctx, lines, "✗ "+err.Error())
		}
	}()
	go func() {
		defer close(batches)
		defer cancel()
		batch(ctx, lines, batches)
	}()
	return &Log{Lines: batches, Close: cancel}
}

func say(ctx context.Context, out chan<- logstream.Line, text string) {
	select {
	case out <- logstream.Line{Text: text, Time: time.Now()}:
	case <-ctx.Done():
	}
}

// followLog reads one service's or task's log until ctx ends or the service does.
func followLog(ctx context.Context, p *Pool, id string, task bool, since string, out chan<- logstream.Line) error {
	o := container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: true, Details: true, Timestamps: true, Since: since}
	if since == "" {
		o.Tail = tail
	}
	for told := ""; ctx.Err() == nil; wait(ctx, reopenEvery) {
		last, err := readLog(ctx, p.Current().API, id, task, o, out)
		if !last.IsZero() {
			o.Since, o.Tail, told = last.Add(time.Nanosecond).Format(time.RFC3339Nano), "", ""
		}
		if errors.Is(err, errEnded) {
			return nil
		}
		if err != nil && err.Error() != told && ctx.Err() == nil {
			told = err.Error()
			say(ctx, out, "✗ "+told)
		}
	}
	return nil
}

// errEnded says that nothing more will be logged.
var errEnded = errors.New("the log has ended")

// readLog reads a log once, and returns the time of its last line.
func readLog(ctx context.Context, c Client, id string, task bool, o container.LogsOptions, out chan<- logstream.Line) (last time.Time, err error) {
	open, tty, err := opening(ctx, c, id, task)
	if err != nil {
		return last, err
	}
	body, err := open(ctx, id, o)
	if err != nil {
		return last, fmt.Errorf("read the log: %w", err)
	}
	defer body.Close()
	lines := make(chan logstream.Line, batchLines)
	read := make(chan error, 1)
	go func() {
		defer close(lines)
		read <- logstream.Read(ctx, body, tty, lines)
	}()
	for l := range lines {
		if !l.Time.IsZero() {
			last = l.Time
		}
		if task && l.Task == "" {
			l.Task = id
		}
		select {
		case out <- l:
		case <-ctx.Done(): // Read ends by it, too
		}
	}
	if err := <-read; err != nil {
		return last, fmt.Errorf("read the log: %w", err)
	}
	if task {
		return last, errEnded // of a task there is one container, and it is no more
	}
	return last, nil
}

// opening is how to open a log, and whether its lines are bare.
func opening(ctx context.Context, c Client, id string, task bool) (open func(context.Context, string, container.LogsOptions) (io.ReadCloser, error), tty bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if task {
		t, _, err := c.TaskInspectWithRaw(ctx, id)
		return c.TaskLogs, err == nil && t.Spec.ContainerSpec != nil && t.Spec.ContainerSpec.TTY, err
	}
	s, _, err := c.ServiceInspectWithRaw(ctx, id, swarm.ServiceInspectOptions{})
	return c.ServiceLogs, err == nil && s.Spec.TaskTemplate.ContainerSpec != nil && s.Spec.TaskTemplate.ContainerSpec.TTY, err
}

// batch hands lines on together once they have waited for gather.
func batch(ctx context.Context, lines <-chan logstream.Line, out chan<- []logstream.Line) {
	for first := range lines {
		held := []logstream.Line{first}
		timer := time.After(gather)
	filling:
		for len(held) < batchLines {
			select {
			case l, ok := <-lines:
				if !ok {
					break filling
				}
				held = append(held, l)
			case <-timer:
				break filling
			}
		}
		select {
		case out <- held:
		case <-ctx.Done():
			return
		}
	}
}
