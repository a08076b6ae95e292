package compose

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What ends a rollout early, beside the context.
var (
	errFailed  = errors.New("a service cannot become healthy")
	errTimeout = errors.New("timeout")
)

// Options say how to apply a plan.
type Options struct {
	// Timeout bounds the wait for health; 0 is DefaultTimeout.
	Timeout time.Duration
	// Detach returns once everything is written, in dependency order, without waiting for the last services.
	Detach bool
	// NoRollback leaves a failed deploy as it is.
	NoRollback bool
	// ResolveImages asks the registry for the digest of each image, so that every node runs the same one.
	ResolveImages bool
	// RegistryAuth is passed on with the services whose image needs it: Docker's X-Registry-Auth for an image.
	RegistryAuth func(image string) string
	// Progress is called for every event, from one goroutine.
	Progress func(Event)
}

// Phase is what a service of a deploy is going through.
type Phase string

const (
	Waiting  Phase = "waiting"  // for its dependencies
	Starting Phase = "starting" // tasks are on their way to running and healthy
	Updating Phase = "updating" // a rolling update is under way
	Rolling  Phase = "rollback" // the update is being taken back
	Done     Phase = "done"     // as wanted
	Failed   Phase = "failed"
	Removed  Phase = "removed"
)

// Event is a change that is worth showing: one per service whenever what is known about it changes, and one per other
// object that is written.
type Event struct {
	Time    time.Time `json:"time"`
	Kind    Kind      `json:"kind"`
	Name    string    `json:"name"`   // as in the file
	Action  Action    `json:"action"` // what the plan does to it
	Phase   Phase     `json:"phase,omitempty"`
	Running int       `json:"running"` // tasks as wanted: running and healthy, or completed
	Desired int       `json:"desired"`
	// Why says what is being waited for, or what is wrong: "waiting for db to be healthy", "web.2: No such image …".
	Why string `json:"why,omitempty"`
}

// Result is what a deploy came to.
type Result struct {
	Stack    string        `json:"stack"`
	Changed  []string      `json:"changed,omitempty"` // services created, updated, replaced or removed
	Took     time.Duration `json:"took"`
	Detached bool          `json:"detached,omitempty"`
}

// Apply carries a plan out and waits until the stack is healthy. It returns *FailedError when a service cannot become
// healthy, *NotHealthyError when it did not in time, and the context's error when it was cancelled: the rollout then goes
// on without being watched.
func Apply(ctx context.Context, cli Client, plan *Plan, o Options) (*Result, error) {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	began := time.Now()
	waiting, cancel := context.WithTimeoutCause(ctx, o.Timeout, errTimeout)
	defer cancel()
	r := newRollout(cli, plan, o)
	if err := r.prepare(waiting); err != nil {
		return nil, err
	}
	err := r.run(waiting)
	switch {
	case err == nil:
	case errors.Is(err, errFailed):
		failures := r.diagnose(ctx)
		return nil, &FailedError{Stack: plan.Stack, Failures: failures, Outcome: r.undo(ctx)}
	case errors.Is(err, errTimeout):
		return nil, &NotHealthyError{Stack: plan.Stack, After: o.Timeout.String(), Failures: r.diagnose(ctx), Outcome: "left as it is: it may still become healthy"}
	case ctx.Err() != nil:
		return nil, fmt.Errorf("stopped watching the deploy of stack %s, which goes on: %w", plan.Stack, ctx.Err())
	default:
		return nil, err
	}
	if err := r.cleanUp(ctx); err != nil {
		return nil, err
	}
	return &Result{Stack: plan.Stack, Changed: r.changed(), Took: time.Since(began), Detached: o.Detach}, nil
}
