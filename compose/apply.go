package compose

import (
	"context"
	"time"
)

// Options say how to apply a plan.
type Options struct {
	// Timeout bounds the wait for health; 0 is DefaultTimeout.
	Timeout time.Duration
	// Detach returns once everything is written, in dependency order, without waiting for the last services.
	Detach bool
	// NoRollback leaves a failed deploy as it is.
	NoRollback bool
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
	return nil, nil
}
