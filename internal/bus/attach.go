package bus

import (
	"context"
	"encoding/json"
	"fmt"
)

// AttachRequest asks for a place on a cluster's network for a container of the node that is not a task: `docker run --network`.
type AttachRequest struct {
	Node string
	// Network is its ID or name.
	Network string
	// Container is its name or ID, if it has one yet.
	Container string `json:",omitempty"`
	// Addresses are those that the container asks for; any without.
	Addresses []string `json:",omitempty"`
	// Aliases are other names of the container on the network.
	Aliases []string `json:",omitempty"`
}

// Attachment is such a place, or why there is none.
type Attachment struct {
	ID        string
	Addresses []string `json:",omitempty"` // with prefix lengths
	Network   Network
	// Unknown says that the cluster has no such network, Refused why the container cannot be on it.
	Unknown bool   `json:",omitempty"`
	Refused string `json:",omitempty"`
}

// Attached is every place that containers of the node hold, however they came by it.
type Attached struct {
	Node string
	Held []Held `json:",omitempty"`
	// Dropped are attachments, by ID, whose container did not come about.
	Dropped []string `json:",omitempty"`
}

// Held is one container's place on one network.
type Held struct {
	Network string // ID
	Address string // without prefix length
	// Address6 is the IPv6 one, on a network that has them.
	Address6  string `json:",omitempty"`
	Container string
	Name      string
	Aliases   []string `json:",omitempty"`
	Running   bool     `json:",omitempty"`
}

// Attach asks for a place on a network.
func (w *WorkerConn) Attach(ctx context.Context, r AttachRequest) (Attachment, error) {
	r.Node = w.node
	var a Attachment
	data, err := w.ask(ctx, whatAttach, r)
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	if err != nil {
		return a, fmt.Errorf("ask for a place on network %s: %w", r.Network, err)
	}
	return a, nil
}

// Attached says which places are held; without an error it is stored.
func (w *WorkerConn) Attached(ctx context.Context, a Attached) error {
	a.Node = w.node
	_, err := w.tell(ctx, whatAttached, a)
	return err
}
