package allocator

import (
	"fmt"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// task gives a new task its addresses and passes it on to the scheduler; failed
// is why its service could not be allocated, if it could not.
func (a *allocation) task(t *store.Task, failed error) {
	if a.tx.Service(t.ServiceID) == nil {
		return // on its way out
	}
	attachments, err := a.taskAttachments(t, failed)
	if err != nil {
		a.explain(t, err)
		return
	}
	c := *t
	c.NetworksAttachments = attachments
	c.Status = swarm.TaskStatus{State: swarm.TaskStatePending, Timestamp: a.tx.Now(), Message: "pending task scheduling"}
	c.AppliedAt = a.tx.Now()
	a.tx.Put(&c)
}

func (a *allocation) taskAttachments(t *store.Task, failed error) (all []swarm.NetworkAttachment, err error) {
	if failed != nil {
		return nil, failed
	}
	networks, err := a.attachments(t.Spec, t.Endpoint)
	if err != nil {
		return nil, err
	}
	for _, n := range networks {
		at := swarm.NetworkAttachment{Network: n.Network}
		if Managed(n) {
			addrs, err := a.addresses(n)
			if err != nil {
				a.giveBack(all)
				return nil, fmt.Errorf("failed to allocate network IP for task %s network %s: %w", t.ID, n.ID, err)
			}
			at.Addresses = addrs
		}
		all = append(all, at)
	}
	return all, nil
}

// giveBack frees the addresses of a task that could not have all of them.
func (a *allocation) giveBack(attachments []swarm.NetworkAttachment) {
	for _, at := range attachments {
		a.release(at.Network.ID, at.Addresses)
	}
}

// explain notes why a task is not allocated, unless it says so already: what
// cannot be allocated must not cost a write each time it is tried.
func (a *allocation) explain(t *store.Task, err error) {
	if t.Status.Err == err.Error() {
		return
	}
	c := *t
	c.Status.Err, c.Status.Timestamp = err.Error(), a.tx.Now()
	a.tx.Put(&c)
}
