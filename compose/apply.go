package compose

import (
	"context"
	"errors"
	"time"
)

// What ends a rollout early, beside the context.
var (
	errFailed  = errors.New("a service cannot become healthy")
	errTimeout = errors.New("timeout")
)

// noteTimeout bounds writing a deploy's outcome down at its end.
const noteTimeout = 10 * time.Second

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
	// By and Message go into the stack's history: who deploys, and why.
	By, Message string
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
	Changed  []string      `json:"changed,omitempty"`  // services created, updated, replaced or removed
	Revision int           `json:"revision,omitempty"` // 0 when nothing was written
	Took     time.Duration `json:"took"`
	Detached bool          `json:"detached,omitempty"`
}

// Apply carries a plan out and waits until the stack is healthy. It returns *FailedError when a service cannot become
// healthy, *NotHealthyError when it did not in time, and *InterruptedError when the context was cancelled: what is written
// then rolls out without being watched. Unless the plan is empty, the deploy becomes a revision of the stack's history.
func Apply(ctx context.Context, cli Client, plan *Plan, o Options) (*Result, error) {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	began := time.Now()
	waiting, cancel := context.WithTimeoutCause(ctx, o.Timeout, errTimeout)
	defer cancel()
	r := newRollout(cli, plan, o)
	result := &Result{Stack: plan.Stack, Changed: r.changed(), Detached: o.Detach}
	if plan.Empty() {
		_, err := r.conclude(ctx, r.roll(waiting))
		result.Took = time.Since(began)
		return result, err
	}
	rev, err := r.begin(waiting)
	if err != nil {
		return nil, err
	}
	result.Revision = rev.Number
	outcome, err := r.conclude(ctx, r.roll(waiting))
	result.Took = time.Since(began)
	// The outcome is noted even when the deploy was interrupted: that is one.
	noting, stop := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer stop()
	if noteErr := r.end(noting, rev, outcome, result.Took, reason(err)); err == nil {
		err = noteErr
	}
	return result, err
}

// roll writes what the services need, then the services, and waits for them.
func (r *rollout) roll(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	return r.run(ctx)
}

// conclude makes of a rollout's end what users and history are told, and tidies up or takes back.
func (r *rollout) conclude(ctx context.Context, err error) (Outcome, error) {
	switch {
	case err == nil:
		if err := r.cleanUp(ctx); err != nil {
			return OutcomeFailed, err
		}
		if r.o.Detach {
			return OutcomeUnwatched, nil
		}
		return OutcomeDone, nil
	case errors.Is(err, errFailed):
		failures := r.diagnose(ctx)
		text, undone := r.undo(ctx)
		failed := &FailedError{Stack: r.plan.Stack, Failures: failures, Outcome: text}
		if undone {
			return OutcomeRolledBack, failed
		}
		return OutcomeFailed, failed
	case errors.Is(err, errTimeout):
		return OutcomeLate, &NotHealthyError{Stack: r.plan.Stack, After: r.o.Timeout.String(), Failures: r.diagnose(ctx), Outcome: "left as it is: it may still become healthy" + notWritten(r.pending())}
	case ctx.Err() != nil:
		return OutcomeUnwatched, &InterruptedError{Stack: r.plan.Stack, Pending: r.pending(), err: ctx.Err()}
	}
	return OutcomeFailed, err
}
