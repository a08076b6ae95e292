package feed

import (
	"context"
	"fmt"

	"github.com/docker/docker/api/types/swarm"
)

// Kind is what a Change does.
type Kind int

// The changes that the dashboard can make.
const (
	Scale Kind = iota + 1
	Restart
	Rollback
	RemoveService
	SetAvailability
)

// Change is one thing that the user asked for and agreed to. Name is for messages only.
type Change struct {
	Kind         Kind
	ID, Name     string
	Replicas     uint64                 // for Scale
	Availability swarm.NodeAvailability // for SetAvailability
}

// Writer is the part of the Docker client that changes need.
type Writer interface {
	ServiceInspectWithRaw(context.Context, string, swarm.ServiceInspectOptions) (swarm.Service, []byte, error)
	ServiceUpdate(context.Context, string, swarm.Version, swarm.ServiceSpec, swarm.ServiceUpdateOptions) (swarm.ServiceUpdateResponse, error)
	ServiceRemove(context.Context, string) error
	NodeInspectWithRaw(context.Context, string) (swarm.Node, []byte, error)
	NodeUpdate(context.Context, string, swarm.Version, swarm.NodeSpec) error
}

// Apply makes a change to the object as it is now. One that another client changed meanwhile is refused by the API.
func Apply(ctx context.Context, c Writer, ch Change) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var err error
	switch ch.Kind {
	case RemoveService:
		err = c.ServiceRemove(ctx, ch.ID)
	case SetAvailability:
		err = setAvailability(ctx, c, ch)
	default:
		err = updateService(ctx, c, ch)
	}
	if err != nil {
		return fmt.Errorf("change %q: %w", ch.Name, err)
	}
	return nil
}

func updateService(ctx context.Context, c Writer, ch Change) error {
	s, _, err := c.ServiceInspectWithRaw(ctx, ch.ID, swarm.ServiceInspectOptions{})
	if err != nil {
		return err
	}
	var o swarm.ServiceUpdateOptions
	switch ch.Kind {
	case Scale:
		if s.Spec.Mode.Replicated == nil {
			return fmt.Errorf("only a replicated service can be scaled")
		}
		s.Spec.Mode.Replicated.Replicas = &ch.Replicas
	case Restart:
		s.Spec.TaskTemplate.ForceUpdate++
	case Rollback:
		o.Rollback = "previous"
	}
	_, err = c.ServiceUpdate(ctx, ch.ID, s.Version, s.Spec, o)
	return err
}

func setAvailability(ctx context.Context, c Writer, ch Change) error {
	n, _, err := c.NodeInspectWithRaw(ctx, ch.ID)
	if err != nil {
		return err
	}
	n.Spec.Availability = ch.Availability
	return c.NodeUpdate(ctx, ch.ID, n.Version, n.Spec)
}
