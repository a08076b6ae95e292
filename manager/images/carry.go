package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/client"

	"orch/internal/store"
)

const (
	// stallLimit is how long nothing may move before a transfer is given up: a node has died, or its disk is full.
	stallLimit = 30 * time.Second
	// loadLimit is how long an engine may take to unpack what has arrived.
	loadLimit = 10 * time.Minute
)

var (
	errAbsent  = errors.New("the node does not have the image")
	errStalled = fmt.Errorf("nothing has moved for %s", stallLimit)
)

// engine is a node's.
func (c *Carrier) engine(node string) (*client.Client, error) {
	return client.NewClientWithOpts(client.WithHost("tcp://node"), client.WithAPIVersionNegotiation(),
		client.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) { return c.Dial(ctx, node) }))
}

// inspect asks a node for an image; errAbsent says that it has none.
func (c *Carrier) inspect(ctx context.Context, n *store.Node, want image) (offer, error) {
	cli, err := c.engine(n.ID)
	if err != nil {
		return offer{}, err
	}
	defer cli.Close()
	i, err := cli.ImageInspect(ctx, want.String())
	if errdefs.IsNotFound(err) {
		return offer{}, errAbsent
	}
	if err != nil {
		return offer{}, err
	}
	created, _ := time.Parse(time.RFC3339Nano, i.Created) // a reproducible build has none
	return offer{node: n, id: i.ID, name: saveAs(want, i.RepoTags), created: created, os: i.Os, arch: i.Architecture}, nil
}

// carry is `docker save | docker load` between two nodes; it returns the number of bytes.
func (c *Carrier) carry(from offer, to string) (int64, error) {
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	watch := &watched{alarm: time.AfterFunc(stallLimit, func() { cancel(errStalled) })}
	defer watch.alarm.Stop()
	err := c.pipe(ctx, from, to, watch)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return watch.read.Load(), err
}

func (c *Carrier) pipe(ctx context.Context, from offer, to string, watch *watched) error {
	source, err := c.engine(from.node.ID)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := c.engine(to)
	if err != nil {
		return err
	}
	defer target.Close()
	content, err := source.ImageSave(ctx, []string{from.name})
	if err != nil {
		return fmt.Errorf("read it: %w", err)
	}
	defer content.Close()
	watch.r = content
	answer, err := target.ImageLoad(ctx, watch, client.ImageLoadWithQuiet(true))
	if err != nil {
		return fmt.Errorf("load it: %w", err)
	}
	defer answer.Body.Close()
	return loaded(answer.Body)
}

// loaded reads an engine's account of a load, which it begins with 200 whatever comes.
func loaded(body io.Reader) error {
	for d := json.NewDecoder(body); ; {
		var line struct {
			Error string `json:"error"`
		}
		err := d.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("load it: %w", err)
		case line.Error != "":
			return fmt.Errorf("load it: %s", line.Error)
		}
	}
}

// watched counts what is read, and puts an alarm off while it is.
type watched struct {
	r     io.Reader
	alarm *time.Timer
	read  atomic.Int64 // the transport may still be reading when a load has failed
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.read.Add(int64(n))
	limit := stallLimit
	if err != nil {
		limit = loadLimit // what is left is unpacking
	}
	w.alarm.Reset(limit)
	return n, err
}
