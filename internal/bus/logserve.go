package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
)

const (
	// maxLogStreams is how many logs a worker sends at a time.
	maxLogStreams = 128
	// logStall is when a worker gives up on a reader that takes nothing: a terminal
	// may be paused for a while, a manager may also have died.
	logStall = 5 * time.Minute
)

var errLogReader = errors.New("nobody reads the log any more")

// LogHandler writes a task's log, in dockerd's frames, until its end or the context's.
type LogHandler func(ctx context.Context, req LogRequest, w io.Writer) error

// ServeLogs answers requests for logs until the context ends, and returns when
// every handler has.
func (w *WorkerConn) ServeLogs(ctx context.Context, h LogHandler) error {
	var running errgroup.Group
	running.SetLimit(maxLogStreams)
	defer running.Wait()
	for {
		m, err := w.logs.NextMsgWithContext(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, nats.ErrSlowConsumer):
			continue
		case err != nil:
			return fmt.Errorf("listen for log requests: %w", err)
		}
		var open logOpen
		if err := json.Unmarshal(m.Data, &open); err != nil || open.Stream == "" {
			w.log.Warn("refused a log request", "err", err)
			continue
		}
		if !running.TryGo(func() error { w.serveLog(ctx, open, h); return nil }) {
			w.sendChunk(open.Stream, LogChunk{Err: "the node sends too many logs already"})
		}
	}
}

// serveLog runs one handler and tells the reader of its end.
func (w *WorkerConn) serveLog(ctx context.Context, open logOpen, h LogHandler) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &logStream{conn: w, id: open.Stream, data: make(chan []byte), control: make(chan *nats.Msg, logWindow+1)}
	for _, what := range []string{whatLogAck, whatLogStop} {
		sub, err := w.conn.ChanSubscribe(toSubject(w.node, what+"."+open.Stream), s.control)
		if err != nil {
			w.log.Warn("send a log", "task", open.TaskID, "err", err)
			return
		}
		defer sub.Unsubscribe()
	}
	var handled error
	go func() {
		defer close(s.data)
		handled = h(ctx, open.LogRequest, logWriter{ctx, s.data})
	}()
	err := s.pump(ctx)
	cancel()
	for range s.data { // until the handler has returned
	}
	last := LogChunk{EOF: true}
	if err = errors.Join(err, handled); err != nil {
		last = LogChunk{Err: err.Error()}
	}
	w.sendChunk(open.Stream, last)
}

func (w *WorkerConn) sendChunk(stream string, c LogChunk) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return w.conn.Publish(fromSubject(w.node, whatLogs+"."+stream), data)
}

// logStream is one log on its way; pump owns its state.
type logStream struct {
	conn    *WorkerConn
	id      string
	data    chan []byte
	control chan *nats.Msg
	// sent and read count chunks.
	sent, read int
}

// pump sends chunks as the reader takes them, until the handler's end (nil), or the reader's.
func (s *logStream) pump(ctx context.Context) error {
	alive := time.NewTicker(chunkEvery)
	defer alive.Stop()
	stalled := time.NewTimer(logStall)
	defer stalled.Stop()
	for {
		data, room := s.data, s.sent-s.read < logWindow
		if !room {
			data = nil
		}
		select {
		case p, more := <-data:
			if !more {
				return nil
			}
			if err := s.send(p); err != nil {
				return err
			}
		case m := <-s.control:
			if m.Subject == toSubject(s.conn.node, whatLogStop+"."+s.id) {
				return errLogReader
			}
			if n, err := strconv.Atoi(string(m.Data)); err == nil && n > s.read && n <= s.sent {
				s.read = n
				stalled.Reset(logStall)
			}
		case <-alive.C:
			if !room {
				continue
			}
			if err := s.send(nil); err != nil {
				return err
			}
		case <-stalled.C:
			return errLogReader
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *logStream) send(p []byte) error {
	s.sent++
	return s.conn.sendChunk(s.id, LogChunk{Data: p})
}

// logWriter hands what a handler writes to its stream.
type logWriter struct {
	ctx  context.Context
	data chan<- []byte
}

// Write implements io.Writer; it blocks while the reader is behind.
func (w logWriter) Write(p []byte) (int, error) {
	for n := 0; n < len(p); n += chunkSize {
		// Copied, because the caller may use p again as soon as this returns.
		chunk := append([]byte(nil), p[n:min(len(p), n+chunkSize)]...)
		select {
		case w.data <- chunk:
		case <-w.ctx.Done():
			return n, w.ctx.Err()
		}
	}
	return len(p), nil
}
