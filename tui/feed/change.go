package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"

	"orch/compose"
)

const (
	// changeTimeout bounds a change: an update may have to wait for the managers to elect a leader.
	changeTimeout = 15 * time.Second
	// removeTimeout bounds the removal of a stack, whose networks go after the last task has stopped.
	removeTimeout = 2 * time.Minute
	// never is the delay of a paused update: further than anybody waits.
	never = 10 * 365 * 24 * time.Hour
	// pausedLabel keeps the delay that a paused update had.
	pausedLabel = "orch.paused.delay"
)

// Change is one thing that the user asked for and agreed to. Name is for messages only.
type Change struct {
	ID, Name string
	do       func(context.Context, Client, string) error
	within   time.Duration // changeTimeout, if 0
}

// Apply makes a change to the object as it is now.
func Apply(ctx context.Context, c Client, ch Change) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(ch.within, changeTimeout))
	defer cancel()
	if err := ch.do(ctx, c, ch.ID); err != nil {
		return fmt.Errorf("%s: %w", ch.Name, err)
	}
	return nil
}

// again makes a change on what is there now, and once more on what is there then if another client was quicker: what is asked for does
// not depend on what was there before.
func again(change func(ctx context.Context, c Client, id string) error) func(context.Context, Client, string) error {
	return func(ctx context.Context, c Client, id string) (err error) {
		for range tries {
			if err = change(ctx, c, id); err == nil || !strings.Contains(err.Error(), "update out of sequence") {
				return err
			}
		}
		return err
	}
}

// tries is how often another client may be quicker.
const tries = 5

// onService is a change of a service's spec.
func onService(id, name string, o swarm.ServiceUpdateOptions, edit func(*swarm.Service) error) Change {
	return Change{ID: id, Name: name, do: again(func(ctx context.Context, c Client, id string) error {
		s, _, err := c.ServiceInspectWithRaw(ctx, id, swarm.ServiceInspectOptions{})
		if err != nil {
			return err
		}
		if err := edit(&s); err != nil {
			return err
		}
		_, err = c.ServiceUpdate(ctx, id, s.Version, s.Spec, o)
		return err
	})}
}

// Scale sets the number of a service's tasks.
func Scale(id, name string, replicas uint64) Change {
	return onService(id, name, swarm.ServiceUpdateOptions{}, func(s *swarm.Service) error {
		if s.Spec.Mode.Replicated == nil {
			return errors.New("only a replicated service can be scaled")
		}
		s.Spec.Mode.Replicated.Replicas = &replicas
		return nil
	})
}

// Restart replaces a service's tasks.
func Restart(id, name string) Change {
	return onService(id, name, swarm.ServiceUpdateOptions{}, func(s *swarm.Service) error { s.Spec.TaskTemplate.ForceUpdate++; return nil })
}

// Rollback returns to a service's previous spec.
func Rollback(id, name string) Change {
	return onService(id, name, swarm.ServiceUpdateOptions{Rollback: "previous"}, func(s *swarm.Service) error {
		if s.PreviousSpec == nil {
			return errors.New("it has never been changed: there is nothing to go back to")
		}
		return nil
	})
}

// Image has a service run another image.
func Image(id, name, image string) Change {
	return onService(id, name, swarm.ServiceUpdateOptions{QueryRegistry: true}, func(s *swarm.Service) error {
		if s.Spec.TaskTemplate.ContainerSpec == nil {
			return errors.New("it does not run containers")
		}
		s.Spec.TaskTemplate.ContainerSpec.Image = image
		return nil
	})
}

// PauseUpdate keeps an update from going on to its next tasks: Swarm's API has no word for it, a delay without end is one.
func PauseUpdate(id, name string) Change {
	return onService(id, name, swarm.ServiceUpdateOptions{}, func(s *swarm.Service) error {
		if s.UpdateStatus == nil || s.UpdateStatus.State != swarm.UpdateStateUpdating {
			return errors.New("no update of it is under way")
		}
		if s.Spec.UpdateConfig == nil {
			s.Spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1}
		}
		if s.Spec.Labels == nil {
			s.Spec.Labels = map[string]string{}
		}
		s.Spec.Labels[pausedLabel] = s.Spec.UpdateConfig.Delay.String()
		s.Spec.UpdateConfig.Delay = never
		return nil
	})
}

// ResumeUpdate lets an update go on that PauseUpdate or a failure has paused.
func ResumeUpdate(id, name string) Change {
	return onService(id, name, swarm.ServiceUpdateOptions{}, func(s *swarm.Service) error {
		if held, ok := s.Spec.Labels[pausedLabel]; ok && s.Spec.UpdateConfig != nil {
			delay, err := time.ParseDuration(held)
			if err != nil {
				return fmt.Errorf("label %s: %w", pausedLabel, err)
			}
			s.Spec.UpdateConfig.Delay = delay
			delete(s.Spec.Labels, pausedLabel)
			return nil
		}
		if u := s.UpdateStatus; u == nil || u.State != swarm.UpdateStatePaused && u.State != swarm.UpdateStateRollbackPaused {
			return errors.New("no update of it is paused")
		}
		return nil // any update of a paused service resumes it
	})
}

// Paused says that PauseUpdate holds a service's update.
func Paused(s *Service) bool { return s.Spec.Labels[pausedLabel] != "" }

// Replace puts an edited spec in the place of the one that it was made from.
func Replace(id, name string, from swarm.Version, spec swarm.ServiceSpec) Change {
	return Change{ID: id, Name: name, do: func(ctx context.Context, c Client, id string) error {
		_, err := c.ServiceUpdate(ctx, id, from, spec, swarm.ServiceUpdateOptions{})
		return err
	}}
}

// EditNode changes a node's spec.
func EditNode(id, name string, edit func(*swarm.NodeSpec)) Change {
	return Change{ID: id, Name: name, do: again(func(ctx context.Context, c Client, id string) error {
		n, _, err := c.NodeInspectWithRaw(ctx, id)
		if err != nil {
			return err
		}
		edit(&n.Spec)
		return c.NodeUpdate(ctx, id, n.Version, n.Spec)
	})}
}

// StopTask ends a task's container; what follows is its service's restart policy.
func StopTask(container, name string) Change {
	return Change{ID: container, Name: name, do: func(ctx context.Context, c Client, id string) error {
		return c.ContainerStop(ctx, id, containerStop())
	}}
}

// Remove takes an object of a view away.
func Remove(view, id, name string) Change {
	within := changeTimeout
	if view == "stacks" {
		within = removeTimeout
	}
	return Change{ID: id, Name: name, within: within, do: func(ctx context.Context, c Client, id string) error {
		switch view {
		case "stacks":
			return compose.Remove(ctx, c, id, compose.RemoveOptions{})
		case "services":
			return c.ServiceRemove(ctx, id)
		case "networks":
			return c.NetworkRemove(ctx, id)
		case "volumes":
			return c.VolumeRemove(ctx, id, false)
		case "secrets":
			return c.SecretRemove(ctx, id)
		case "configs":
			return c.ConfigRemove(ctx, id)
		case "nodes":
			return c.NodeRemove(ctx, id, swarm.NodeRemoveOptions{})
		}
		return fmt.Errorf("nothing in %s can be removed", view)
	}}
}

func containerStop() container.StopOptions { return container.StopOptions{} }
