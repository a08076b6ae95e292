// Package logstream takes the logs of tasks apart as the API streams them: Docker's frames, or bare lines of tasks with a terminal.
package logstream

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
)

// Line is one line of one task.
type Line struct {
	Task   string // ID
	Name   string // for the caller to fill in
	Stderr bool
	Time   time.Time
	Text   string
}

// maxFrame is far above what a log driver splits lines at; a larger frame means that the stream is not frames at all.
const maxFrame = 16 << 20

// Read splits the stream of a service's logs into lines: frames of 8 bytes of head and a payload, or bare lines where the
// tasks have a terminal.
func Read(ctx context.Context, r io.Reader, tty bool, lines chan<- Line) error {
	b := bufio.NewReader(r)
	for {
		payload, stderr, err := next(b, tty)
		for part := range bytes.Lines(payload) {
			line := parseLine(strings.TrimRight(string(part), "\r\n"))
			line.Stderr = stderr
			select {
			case lines <- line:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func next(b *bufio.Reader, tty bool) (payload []byte, stderr bool, err error) {
	if tty {
		payload, err = b.ReadBytes('\n')
		return payload, false, err
	}
	var head [8]byte
	if _, err := io.ReadFull(b, head[:]); err != nil {
		return nil, false, err
	}
	size := binary.BigEndian.Uint32(head[4:])
	if head[0] > 3 || size > maxFrame {
		return nil, false, fmt.Errorf("the stream of logs is not in Docker's frames (%x)", head)
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(b, payload); err != nil {
		return nil, false, fmt.Errorf("a frame of logs is cut off: %w", err)
	}
	if head[0] == 3 { // an error of the server within the stream
		return nil, false, errors.New(strings.TrimSpace(string(payload)))
	}
	return payload, head[0] == 2, nil
}

// parseLine takes a line with time and details apart: `2026-01-02T15:04:05.6Z a=b,com.docker.swarm.task.id=… text`.
func parseLine(s string) Line {
	line := Line{Text: s}
	stamp, rest, ok := strings.Cut(s, " ")
	t, err := time.Parse(time.RFC3339Nano, stamp)
	if !ok || err != nil {
		return line
	}
	line.Time, line.Text = t, rest
	details, rest, _ := strings.Cut(rest, " ")
	for pair := range strings.SplitSeq(details, ",") {
		if id, ok := strings.CutPrefix(pair, "com.docker.swarm.task.id="); ok {
			if plain, err := url.QueryUnescape(id); err == nil {
				id = plain
			}
			line.Task, line.Text = id, rest
		}
	}
	return line
}
