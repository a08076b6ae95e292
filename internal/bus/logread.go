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
	"github.com/nats-io/nuid"
)

const (
	// chunkSize is the most that one LogChunk carries.
	chunkSize = 64 << 10
	// logWindow is how many chunks may be on their way unread: what a reader
	// that has stopped reading costs.
	logWindow = 16
	// chunkEvery is how often a worker sends a chunk, empty if need be, to say that it
	// is there; logSilence is when a manager stops believing so.
	chunkEvery = 3 * time.Second
	logSilence = 10 * time.Second
)

// logOpen is a LogRequest on its way.
type logOpen struct {
	LogRequest
	Stream string
}

// Logs opens a task's logs on a node. The worker sends no more than the reader
// takes. Close ends the stream on the worker, too; so does the end of the context.
func (m *ManagerConn) Logs(ctx context.Context, node string, req LogRequest) (io.ReadCloser, error) {
	open := logOpen{LogRequest: req, Stream: nuid.Next()}
	body, err := json.Marshal(open)
	if err != nil {
		return nil, err
	}
	chunks, err := m.conn.SubscribeSync(fromSubject(node, whatLogs+"."+open.Stream))
	if err != nil {
		return nil, fmt.Errorf("read logs of node %s: %w", node, err)
	}
	if err := m.conn.Publish(toSubject(node, whatLogs), body); err != nil {
		chunks.Unsubscribe()
		return nil, fmt.Errorf("read logs of node %s: %w", node, err)
	}
	return &logReader{ctx: ctx, conn: m.conn, node: node, stream: open.Stream, chunks: chunks}, nil
}

// logReader is owned by its one reader, as every io.Reader.
type logReader struct {
	ctx    context.Context
	conn   *nats.Conn
	node   string
	stream string
	chunks *nats.Subscription
	rest   []byte
	taken  int
	err    error
}

// Read implements io.Reader.
func (r *logReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 && r.err == nil {
		r.err = r.next()
	}
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// next takes the next chunk and lets the worker send another.
func (r *logReader) next() error {
	ctx, cancel := context.WithTimeout(r.ctx, logSilence)
	defer cancel()
	m, err := r.chunks.NextMsgWithContext(ctx)
	switch {
	case r.ctx.Err() != nil:
		return r.ctx.Err()
	case err != nil:
		return fmt.Errorf("node %s does not send its logs: %w", r.node, err)
	}
	r.taken++
	ack := strconv.AppendInt(nil, int64(r.taken), 10)
	if err := r.conn.Publish(toSubject(r.node, whatLogAck+"."+r.stream), ack); err != nil {
		return fmt.Errorf("read logs of node %s: %w", r.node, err)
	}
	var c LogChunk
	if err := json.Unmarshal(m.Data, &c); err != nil {
		return fmt.Errorf("read logs of node %s: %w", r.node, err)
	}
	r.rest = c.Data
	switch {
	case c.Err != "":
		return errors.New(c.Err)
	case c.EOF:
		return io.EOF
	}
	return nil
}

// Close implements io.Closer. A worker that has come to its end ignores it.
func (r *logReader) Close() error {
	r.chunks.Unsubscribe()
	if r.err == nil {
		r.err = io.ErrClosedPipe
	}
	return r.conn.Publish(toSubject(r.node, whatLogStop+"."+r.stream), nil)
}
