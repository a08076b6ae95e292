package worker

import (
	"context"
	"errors"
	"time"

	"orch/internal/bus"
)

// An image that was built or loaded on one machine is in no registry; a small cluster has none of its own. What a node
// cannot get otherwise it asks of the other nodes, through the managers.
const (
	// fetchPatience bounds one request, which the managers answer within a few seconds even where the image takes minutes.
	fetchPatience = 15 * time.Second
	// fetchMisses is how many requests in a row may fail, fetchPause apart: as long as a change of leader takes.
	fetchMisses = 5
	fetchPause  = time.Second
)

// peers is how an agent asks for images.
type peers interface {
	Image(context.Context, bus.ImageRequest) (bus.ImageReply, error)
}

// fetch brings a task's image from another node and returns why that was not possible; "" says that it was, or
// that there is no other node.
func (i *images) fetch(ctx context.Context, task string) (why string) {
	ctx, cancel := context.WithTimeout(ctx, pullLimit)
	defer cancel()
	for misses := 0; ; {
		r, err := i.ask(ctx, task)
		switch {
		case err == nil && r.Here:
			i.log.Info("an image came from another node", "task", task, "from", r.From)
			return ""
		case err == nil && !r.Coming:
			return r.Why
		case err == nil:
			misses = 0
			continue
		}
		if misses++; misses == fetchMisses {
			return err.Error()
		}
		select {
		case <-time.After(fetchPause):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err).Error()
		}
	}
}

func (i *images) ask(ctx context.Context, task string) (bus.ImageReply, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchPatience)
	defer cancel()
	return i.peers.Image(ctx, bus.ImageRequest{Task: task})
}
