package compose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
)

// RemoveOptions say how to remove a stack.
type RemoveOptions struct {
	// Timeout bounds the wait for the tasks to end; 0 is DefaultTimeout.
	Timeout time.Duration
	// Detach returns once removal has been asked for. Networks that are still in use are then left to a second call.
	Detach   bool
	Progress func(Event)
}

// ErrNoStack says that no service, network, secret or config carries the stack's label.
var ErrNoStack = errors.New("nothing found in stack")

// Remove takes a stack away: its services, then, once their tasks are gone, its history, networks, secrets and configs.
// Volumes stay, as with Swarm.
func Remove(ctx context.Context, cli Client, stack string, o RemoveOptions) error {
	have, err := observe(ctx, cli, stack)
	if err != nil {
		return err
	}
	have.only(stack)
	if len(have.services)+len(have.networks)+len(have.secrets)+len(have.configs)+len(have.revisions) == 0 {
		return fmt.Errorf("%w: %s", ErrNoStack, stack)
	}
	report := func(kind Kind, name string) {
		if o.Progress != nil {
			o.Progress(Event{Time: time.Now(), Kind: kind, Name: strings.TrimPrefix(name, stack+"_"), Action: Delete, Phase: Removed})
		}
	}
	for _, s := range have.services {
		if err := cli.ServiceRemove(ctx, s.ID); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove service %s: %w", s.Spec.Name, err)
		}
		report(KindService, s.Spec.Name)
	}
	if !o.Detach {
		if err := tasksGone(ctx, cli, have.services, o.Timeout); err != nil {
			return err
		}
	}
	for _, r := range have.revisions {
		if err := cli.ConfigRemove(ctx, r.config.ID); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove revision %d: %w", r.Number, err)
		}
	}
	return removeRest(ctx, cli, have, o.Detach, report)
}

// only keeps what belongs to the stack.
func (s *state) only(stack string) {
	s.networks = slices.DeleteFunc(s.networks, func(n network.Summary) bool { return n.Labels[LabelNamespace] != stack })
	s.secrets = slices.DeleteFunc(s.secrets, func(o swarm.Secret) bool { return o.Spec.Labels[LabelNamespace] != stack })
	s.configs = slices.DeleteFunc(s.configs, func(o swarm.Config) bool { return o.Spec.Labels[LabelNamespace] != stack })
}

// tasksGone waits until no task of the services is left that still runs or is to run. They are asked for by service: the
// label filter finds nothing once the services are gone.
func tasksGone(ctx context.Context, cli Client, services []swarm.Service, timeout time.Duration) error {
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("tasks still run after %s", timeout))
	defer cancel()
	ids := map[string]bool{}
	for _, s := range services {
		ids[s.ID] = true
	}
	wake := watch(ctx, cli)
	for {
		tasks, err := cli.TaskList(ctx, swarm.TaskListOptions{})
		if err != nil {
			return fmt.Errorf("list tasks: %w", errors.Join(err, context.Cause(ctx)))
		}
		if !slices.ContainsFunc(tasks, func(t swarm.Task) bool { return ids[t.ServiceID] && !ended(t.Status.State) && t.NodeID != "" }) {
			return nil
		}
		if err := wake(ctx); err != nil {
			return err
		}
	}
}

// removeRest removes what tasks used. Addresses of a network may be given back a moment after its last task has ended, so
// a refusal is tried again for a while.
func removeRest(ctx context.Context, cli Client, have *state, detach bool, report func(Kind, string)) error {
	var failed []error
	remove := func(kind Kind, name string, do func() error) {
		err := do()
		for deadline := time.Now().Add(releaseWait); err != nil && !errdefs.IsNotFound(err) && !detach && time.Now().Before(deadline); err = do() {
			if !pause(ctx, pollFast) {
				break
			}
		}
		if err != nil && !errdefs.IsNotFound(err) {
			failed = append(failed, fmt.Errorf("remove %s %s: %w", kind, name, err))
			return
		}
		report(kind, name)
	}
	for _, n := range have.networks {
		remove(KindNetwork, n.Name, func() error { return cli.NetworkRemove(ctx, n.ID) })
	}
	for _, s := range have.secrets {
		remove(KindSecret, s.Spec.Name, func() error { return cli.SecretRemove(ctx, s.ID) })
	}
	for _, s := range have.configs {
		remove(KindConfig, s.Spec.Name, func() error { return cli.ConfigRemove(ctx, s.ID) })
	}
	return errors.Join(failed...)
}
