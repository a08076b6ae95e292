package worker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"

	"orch/internal/bus"
	"orch/worker/spec"
)

// frameHeader is the length of the header of Docker's multiplexed stream: stream, three zeros, length.
const frameHeader = 8

// maxLine bounds a line, so that a torn stream is not taken for one of gigabytes.
const maxLine = 16 << 20

// Logs writes the log of a task's container, in frames as dockerd sends them, or raw for a task with a terminal. Details
// name the node, service and task as Swarm does. To follow a task that has no container yet is to wait for it.
func (a *Agent) Logs(ctx context.Context, req bus.LogRequest, w io.Writer) error {
	id, err := a.containerOf(ctx, req)
	if err != nil {
		return err
	}
	state, err := a.Engine.Inspect(ctx, id)
	if err != nil {
		return fmt.Errorf("logs of task %s: %w", req.TaskID, err)
	}
	r, err := a.Engine.Logs(ctx, id, container.LogsOptions{
		ShowStdout: req.Stdout, ShowStderr: req.Stderr, Follow: req.Follow, Since: req.Since, Until: req.Until,
		Tail: req.Tail, Timestamps: req.Timestamps, Details: req.Details,
	})
	if err != nil {
		return fmt.Errorf("logs of task %s: %w", req.TaskID, err)
	}
	defer r.Close()
	switch {
	case !req.Details:
		_, err = io.Copy(w, r)
	case state.TTY:
		err = detailRaw(w, r, req.Timestamps, identity(state.Labels))
	default:
		err = detailFrames(w, r, req.Timestamps, identity(state.Labels))
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("logs of task %s: %w", req.TaskID, err)
	}
	return nil
}

// containerOf is the container of a task.
func (a *Agent) containerOf(ctx context.Context, req bus.LogRequest) (string, error) {
	if req.Follow {
		return a.awaitContainer(ctx, req.TaskID)
	}
	list, err := a.Engine.List(ctx, spec.LabelTask, req.TaskID)
	if err != nil {
		return "", fmt.Errorf("logs of task %s: %w", req.TaskID, err)
	}
	if len(list) == 0 {
		return "", fmt.Errorf("logs of task %s: it has no container", req.TaskID)
	}
	return list[0].ID, nil
}

// awaitContainer waits until a task has a container.
func (a *Agent) awaitContainer(ctx context.Context, task string) (string, error) {
	made := make(chan string, 1)
	err := a.call(ctx, func() {
		switch t := a.tasks[task]; {
		case t == nil:
			close(made)
		case t.container != "":
			made <- t.container
		default:
			a.waiting[task] = append(a.waiting[task], made)
		}
	})
	if err != nil {
		return "", err
	}
	select {
	case id, ok := <-made:
		if !ok {
			return "", fmt.Errorf("logs of task %s: it is not on this node", task)
		}
		return id, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// resolve tells those who wait for a task's container, that it is there or that it will never be.
func (a *Agent) resolve(t *task) {
	for _, ch := range a.waiting[t.ID] {
		if t.container != "" {
			ch <- t.container
		} else {
			close(ch)
		}
	}
	delete(a.waiting, t.ID)
}

// identity is what Swarm adds to the details of every line.
func identity(labels map[string]string) []string {
	var out []string
	for _, k := range []string{spec.LabelNode, spec.LabelService, spec.LabelTask} {
		out = append(out, url.QueryEscape(k)+"="+url.QueryEscape(labels[k]))
	}
	return out
}

// detailFrames copies frames, and adds to the details of each.
func detailFrames(w io.Writer, r io.Reader, timestamps bool, add []string) error {
	in := bufio.NewReader(r)
	var frame bytes.Buffer
	for {
		header := make([]byte, frameHeader)
		if _, err := io.ReadFull(in, header); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(header[4:])
		if n > maxLine {
			return fmt.Errorf("a log frame of %d bytes", n)
		}
		line := make([]byte, n)
		if _, err := io.ReadFull(in, line); err != nil {
			return err
		}
		line = detail(line, timestamps, add)
		binary.BigEndian.PutUint32(header[4:], uint32(len(line)))
		frame.Reset()
		frame.Write(header)
		frame.Write(line)
		if _, err := w.Write(frame.Bytes()); err != nil { // a frame is one write: it is not torn apart
			return err
		}
	}
}

// detailRaw copies lines, and adds to the details of each.
func detailRaw(w io.Writer, r io.Reader, timestamps bool, add []string) error {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			if _, err := w.Write(detail(line, timestamps, add)); err != nil {
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

// detail adds to a line's details: "[time ]k=v,k=v line", the keys in order.
func detail(line []byte, timestamps bool, add []string) []byte {
	var out bytes.Buffer
	if timestamps {
		at, rest, _ := bytes.Cut(line, []byte(" "))
		out.Write(at)
		out.WriteByte(' ')
		line = rest
	}
	had, rest, _ := bytes.Cut(line, []byte(" "))
	all := slices.Clone(add)
	if len(had) > 0 {
		all = append(all, strings.Split(string(had), ",")...)
	}
	slices.Sort(all)
	out.WriteString(strings.Join(all, ","))
	out.WriteByte(' ')
	out.Write(rest)
	return out.Bytes()
}
