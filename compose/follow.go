package compose

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/swarm"
)

// Follow waits until a service whose spec has just been written is as its spec says, with the progress and the errors of
// Apply. back says that it was rolled back, so that a rollback is what is expected of it.
func Follow(ctx context.Context, cli Client, s swarm.Service, back bool, o Options) error {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	o.NoRollback = true
	waiting, cancel := context.WithTimeoutCause(ctx, o.Timeout, errTimeout)
	defer cancel()
	m := s.Spec.Mode
	service := Service{Key: s.Spec.Name, Spec: s.Spec, OneShot: m.ReplicatedJob != nil || m.GlobalJob != nil}
	r := newRollout(cli, &Plan{Stack: s.Spec.Labels[LabelNamespace], want: &Stack{Services: []Service{service}}, have: &state{}}, o)
	t := r.services[0]
	r.only, t.written, t.back, t.change.Action = s.ID, true, back, Update
	if err := r.readBefore(waiting); err != nil {
		return err
	}
	err := r.run(waiting)
	switch {
	case errors.Is(err, errFailed):
		return &FailedError{Stack: r.plan.Stack, Service: s.Spec.Name, Failures: r.diagnose(ctx)}
	case errors.Is(err, errTimeout):
		return &NotHealthyError{Stack: r.plan.Stack, Service: s.Spec.Name, After: o.Timeout.Round(time.Millisecond).String(), Failures: r.diagnose(ctx)}
	case ctx.Err() != nil:
		return fmt.Errorf("stopped watching service %s, which goes on: %w", s.Spec.Name, ctx.Err())
	}
	return err
}

// forward takes a rollback for the update that it is to those who asked for it.
func forward(u *swarm.UpdateStatus) *swarm.UpdateStatus {
	if u == nil {
		return nil
	}
	out := *u
	switch u.State {
	case swarm.UpdateStateRollbackStarted:
		out.State = swarm.UpdateStateUpdating
	case swarm.UpdateStateRollbackPaused:
		out.State = swarm.UpdateStatePaused
	case swarm.UpdateStateRollbackCompleted:
		out.State = swarm.UpdateStateCompleted
	}
	return &out
}
