package bus

import (
	"context"
	"encoding/json"
	"fmt"
)

// ImageRequest asks for the image of one of the node's tasks, which is neither here nor in a registry, from a node that
// has it. It names the task and not the image, so that a node gets no image that it is not to run.
type ImageRequest struct {
	Node string
	Task string
}

// ImageReply is how far that is. With neither Here nor Coming it is over, and Why says why no node can give the image.
type ImageReply struct {
	Here   bool   `json:",omitempty"`
	Coming bool   `json:",omitempty"` // ask again
	From   string `json:",omitempty"` // hostname
	Why    string `json:",omitempty"` // "" where there is no other node to ask
}

// Image asks for an image; it is answered when the image is here, or after a few seconds.
func (w *WorkerConn) Image(ctx context.Context, r ImageRequest) (ImageReply, error) {
	r.Node = w.node
	var out ImageReply
	data, err := w.ask(ctx, whatImage, r)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		return out, fmt.Errorf("ask other nodes for an image: %w", err)
	}
	return out, nil
}
