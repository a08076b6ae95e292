// Package images brings images that no registry has from the nodes that have them to the nodes that need them: what
// `docker save` writes on one is what `docker load` reads on the other, through the leader. Only the leader's workers ask, and
// each gets what its own tasks run, no other image.
//
// It owns the transfers that are under way, at most one for a node and an image, and nothing that outlives the leadership:
// the next leader is asked again and begins anew.
package images

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"orch/internal/bus"
	"orch/internal/extra"
	"orch/internal/store"
)

const (
	// answerAfter is how long a worker waits for an answer; it asks again.
	answerAfter = 5 * time.Second
	// findLimit bounds the question to all nodes who has an image.
	findLimit = 5 * time.Second
	// atOnce is how many images are on their way: all of them pass through this machine. A node that has got one gives it on,
	// so that few at a time are not slower.
	atOnce = 3
)

// Config is what a Carrier needs.
type Config struct {
	View func() *store.View
	// Dial connects to a node's Docker Engine.
	Dial func(ctx context.Context, node string) (net.Conn, error)
	Log  *slog.Logger
}

// Carrier moves images between nodes.
type Carrier struct {
	Config
	ctx     context.Context
	running errgroup.Group
	slots   chan struct{}

	mu    sync.Mutex // guards moves
	moves map[move]*transfer
}

// move is an image on its way to a node.
type move struct {
	node string
	image
}

// image is what a task runs: what is called ref, or, of a build, what has that ID.
type image struct{ ref, id string }

// String is what an engine is asked for.
func (i image) String() string {
	if i.id != "" {
		return i.id
	}
	return i.ref
}

// transfer is a move's end, once done is closed.
type transfer struct {
	done  chan struct{}
	reply bus.ImageReply
}

// New is a Carrier whose transfers end with the context.
func New(ctx context.Context, cfg Config) *Carrier {
	return &Carrier{Config: cfg, ctx: ctx, slots: make(chan struct{}, atOnce), moves: map[move]*transfer{}}
}

// Wait returns when the last transfer has ended; the context must have.
func (c *Carrier) Wait() { _ = c.running.Wait() }

// Image brings a task's image to its node and returns when it is there or cannot be had, or after a few seconds.
func (c *Carrier) Image(ctx context.Context, r bus.ImageRequest) (bus.ImageReply, error) {
	t := c.View().Task(r.Task)
	if t == nil || t.NodeID != r.Node || t.Spec.ContainerSpec == nil {
		return bus.ImageReply{}, fmt.Errorf("task %s is not the node's", r.Task)
	}
	e, err := extra.FromLabels(t.Spec.ContainerSpec.Labels)
	if err != nil {
		return bus.ImageReply{}, err
	}
	transfer, err := c.begin(move{r.Node, image{t.Spec.ContainerSpec.Image, e.ImageID}})
	if err != nil {
		return bus.ImageReply{}, err
	}
	timer := time.NewTimer(answerAfter)
	defer timer.Stop()
	select {
	case <-transfer.done:
		return transfer.reply, nil
	case <-timer.C:
		return bus.ImageReply{Coming: true}, nil
	case <-ctx.Done():
		return bus.ImageReply{}, ctx.Err()
	}
}

// begin is the transfer that is under way, or a new one.
func (c *Carrier) begin(m move) (*transfer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ctx.Err(); err != nil {
		return nil, err
	}
	if t := c.moves[m]; t != nil {
		return t, nil
	}
	t := &transfer{done: make(chan struct{})}
	c.moves[m] = t
	c.running.Go(func() error {
		t.reply = c.run(m)
		c.mu.Lock()
		delete(c.moves, m)
		c.mu.Unlock()
		close(t.done)
		return nil
	})
	return t, nil
}

func (c *Carrier) run(m move) bus.ImageReply {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-c.ctx.Done():
		return bus.ImageReply{Why: c.ctx.Err().Error()}
	}
	to := c.View().Node(m.node)
	if to == nil {
		return bus.ImageReply{Why: "the node has been removed"}
	}
	from, err := choose(m.image, to, c.offers(m.image))
	switch {
	case err != nil && c.lone(m.node):
		return bus.ImageReply{}
	case err != nil:
		return bus.ImageReply{Why: err.Error()}
	case from.node.ID == m.node:
		return bus.ImageReply{Here: true, From: hostname(to)}
	}
	began := time.Now()
	size, err := c.carry(from, m.node)
	if err != nil {
		return bus.ImageReply{Why: fmt.Sprintf("it did not arrive from node %s: %v", hostname(from.node), err)}
	}
	c.Log.Info("brought an image to a node", "image", from.name, "from", hostname(from.node), "to", hostname(to), "bytes", size, "took", time.Since(began))
	return bus.ImageReply{Here: true, From: hostname(from.node)}
}

// lone says that there is no other node.
func (c *Carrier) lone(id string) bool {
	nodes := c.View().Nodes(store.All())
	return len(nodes) == 1 && nodes[0].ID == id
}

// offers asks all nodes that answer who has an image.
func (c *Carrier) offers(i image) []offer {
	ctx, cancel := context.WithTimeout(c.ctx, findLimit)
	defer cancel()
	var mu sync.Mutex
	var found []offer
	var asking errgroup.Group
	for _, n := range c.View().Nodes(store.All()) {
		if n.Status.State != swarm.NodeStateReady {
			continue
		}
		asking.Go(func() error {
			o, err := c.inspect(ctx, n, i)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				found = append(found, o)
			} else if !errors.Is(err, errAbsent) {
				c.Log.Warn("a node does not say whether it has an image", "node", hostname(n), "image", i.ref, "error", err)
			}
			return nil
		})
	}
	_ = asking.Wait() // nodes that do not answer offer nothing
	return found
}

func hostname(n *store.Node) string {
	if n.Description.Hostname != "" {
		return n.Description.Hostname
	}
	return n.ID
}
