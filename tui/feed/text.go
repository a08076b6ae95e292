package feed

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/pkg/stdcopy"
)

const (
	// gather is how long log lines wait for others, so that a flood costs a few frames a second, not one per line.
	gather = 100 * time.Millisecond
	// tail is how much of the past a log begins with.
	tail = "500"
	// batchLines bounds a batch, and so what a flood keeps in memory; the reader waits, nothing is dropped.
	batchLines = 2000
	// longestLine is where a line without an end is cut in two.
	longestLine = 64 << 10
)

// Reader is the part of the Docker client that reads one object.
type Reader interface {
	ServiceInspectWithRaw(context.Context, string, swarm.ServiceInspectOptions) (swarm.Service, []byte, error)
	NodeInspectWithRaw(context.Context, string) (swarm.Node, []byte, error)
	TaskInspectWithRaw(context.Context, string) (swarm.Task, []byte, error)
	ServiceLogs(context.Context, string, container.LogsOptions) (io.ReadCloser, error)
	TaskLogs(context.Context, string, container.LogsOptions) (io.ReadCloser, error)
}

// Inspect is one object of a view (services, tasks, nodes) as the API tells it, in lines of indented JSON.
func Inspect(ctx context.Context, c Reader, view, id string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var raw []byte
	var err error
	switch view {
	case "services":
		_, raw, err = c.ServiceInspectWithRaw(ctx, id, swarm.ServiceInspectOptions{})
	case "tasks":
		_, raw, err = c.TaskInspectWithRaw(ctx, id)
	case "nodes":
		_, raw, err = c.NodeInspectWithRaw(ctx, id)
	}
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", id, err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return nil, fmt.Errorf("inspect %s: %w", id, err)
	}
	return strings.Split(strings.TrimSpace(out.String()), "\n"), nil
}

// Log is an open log. Lines is closed at its end.
type Log struct {
	Lines <-chan []string
	Close context.CancelFunc
}

// OpenLog follows the log of a service or a task until Close or the end of ctx. It returns at once: an error is a line.
func OpenLog(ctx context.Context, c Reader, view, id string) *Log {
	ctx, cancel := context.WithCancel(ctx)
	batches := make(chan []string)
	lines := make(chan string, batchLines)
	go func() {
		defer close(lines)
		if err := readLog(ctx, c, view, id, lines); err != nil && ctx.Err() == nil {
			send(ctx, lines, "✗ "+err.Error())
		}
	}()
	go func() {
		defer close(batches)
		batch(ctx, lines, batches)
	}()
	return &Log{Lines: batches, Close: cancel}
}

func readLog(ctx context.Context, c Reader, view, id string, lines chan<- string) error {
	o := container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: true, Tail: tail}
	open := c.ServiceLogs
	if view == "tasks" {
		open = c.TaskLogs
	}
	body, err := open(ctx, id, o)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	defer body.Close()
	plain, w := io.Pipe()
	defer plain.Close() // ends the copy below when the reader gives up first
	go func() {
		w.CloseWithError(demultiplex(w, body))
	}()
	r := bufio.NewReaderSize(plain, longestLine)
	for {
		line, _, err := r.ReadLine()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		send(ctx, lines, string(line))
	}
}

// demultiplex copies what was logged; a task with a terminal logs without the headers of the two streams.
func demultiplex(w io.Writer, body io.Reader) error {
	r := bufio.NewReader(body)
	head, _ := r.Peek(4)
	if len(head) == 4 && head[0] <= byte(stdcopy.Systemerr) && bytes.Equal(head[1:], []byte{0, 0, 0}) {
		_, err := stdcopy.StdCopy(w, w, r)
		return err
	}
	_, err := io.Copy(w, r)
	return err
}

func send(ctx context.Context, lines chan<- string, line string) {
	select {
	case lines <- line:
	case <-ctx.Done():
	}
}

// batch hands lines on together once they have waited for gather.
func batch(ctx context.Context, lines <-chan string, out chan<- []string) {
	for first := range lines {
		held := []string{first}
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
