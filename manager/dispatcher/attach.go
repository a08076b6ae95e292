package dispatcher

import (
	"context"

	"orch/internal/bus"
	"orch/internal/store"
	"orch/manager/allocator"
)

// Attach gives a container that is no task a place on a network.
func (d *Dispatcher) Attach(ctx context.Context, r bus.AttachRequest) (bus.Attachment, error) {
	var made *store.Task
	var refused error
	err := d.Do(ctx, func(tx *store.Tx) {
		made, refused = allocator.Attach(tx, allocator.Ask{
			Node: r.Node, Network: r.Network, Container: r.Container, Addresses: r.Addresses, Aliases: r.Aliases,
		})
	})
	if err != nil {
		return bus.Attachment{}, err
	}
	view := d.Store.View()
	if refused != nil {
		n := allocator.FindNetwork(view, r.Network)
		return bus.Attachment{Unknown: n == nil || !allocator.Managed(n), Refused: refused.Error()}, nil
	}
	place := made.NetworksAttachments[0]
	out := bus.Attachment{ID: made.ID, Addresses: place.Addresses}
	// Its peers follow with the node's assignments.
	if n := (&world{view: view}).network(place.Network.ID, r.Node); n != nil {
		out.Network = d.withKeys(*n)
	} else {
		out.Refused = "the node could not be given an address on network " + place.Network.Spec.Name + ": could not find an available IP"
	}
	return out, nil
}

// Attached takes in which places the containers of a node hold.
func (d *Dispatcher) Attached(ctx context.Context, a bus.Attached) (bus.Reply, error) {
	held := make([]allocator.Held, len(a.Held))
	for i, h := range a.Held {
		held[i] = allocator.Held(h)
	}
	return bus.Reply{Epoch: d.Epoch}, d.Do(ctx, func(tx *store.Tx) { allocator.Attached(tx, a.Node, held, a.Dropped) })
}
