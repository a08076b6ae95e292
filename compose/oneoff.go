package compose

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/pkg/stdcopy"

	"orch/internal/extra"
)

// LabelRun is on one-off services: the name of the service that they are a copy of. They do not carry the stack's label, so
// that no deploy takes them for a part of it.
const LabelRun = "orch.run"

const (
	// drain is how long the output of a task that has ended may take to arrive, and quiet how long nothing more must have
	// come for it to be taken for complete: Docker's swarm mode does not always end a stream that is followed.
	drain = 3 * time.Second
	quiet = 300 * time.Millisecond
)

// OneOff says how a one-off task differs from its service's.
type OneOff struct {
	Command    []string // instead of the service's command
	Entrypoint []string
	Env        []string // NAME=VALUE, over the service's
	User, Dir  string
	TTY, Stdin bool
	// Node is where it has to run; empty: wherever the service may.
	Node string
}

// Spec is a job of a single task that is like the service's tasks but for what o says: on the same networks, with the same
// secrets, configs, mounts and limits, and without what makes a task part of a service: its names, published ports, health
// check, hooks and restarts.
func (o OneOff) Spec(s swarm.Service) (swarm.ServiceSpec, error) {
	from := clone(s.Spec)
	c := from.TaskTemplate.ContainerSpec
	if c == nil {
		return from, fmt.Errorf("service %s runs no containers", s.Spec.Name)
	}
	name, err := oneOffName(s.Spec.Name)
	if err != nil {
		return from, err
	}
	one := uint64(1)
	spec := swarm.ServiceSpec{
		Annotations:  swarm.Annotations{Name: name, Labels: map[string]string{LabelRun: s.Spec.Name}},
		TaskTemplate: from.TaskTemplate,
		Mode:         swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: &one, TotalCompletions: &one}},
	}
	t := &spec.TaskTemplate
	t.RestartPolicy, t.ForceUpdate = &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionNone}, 0
	if len(t.Networks) == 0 {
		//lint:ignore SA1019 old clients still send it
		t.Networks = from.Networks
	}
	for i := range t.Networks {
		t.Networks[i].Aliases = nil // nobody who asks for the service is to reach a one-off task
	}
	if t.Placement == nil {
		t.Placement = &swarm.Placement{}
	}
	t.Placement.MaxReplicas = 0
	if o.Node != "" {
		t.Placement.Constraints = append(t.Placement.Constraints, "node.id=="+o.Node)
	}
	return spec, o.container(c)
}

func (o OneOff) container(c *swarm.ContainerSpec) error {
	if len(o.Entrypoint) > 0 {
		c.Command, c.Args = o.Entrypoint, nil
	}
	if len(o.Command) > 0 {
		c.Args = o.Command
	}
	if o.User != "" {
		c.User = o.User
	}
	if o.Dir != "" {
		c.Dir = o.Dir
	}
	for _, kv := range o.Env {
		name, _, _ := strings.Cut(kv, "=")
		c.Env = slices.DeleteFunc(c.Env, func(old string) bool { return old == name || strings.HasPrefix(old, name+"=") })
		c.Env = append(c.Env, kv)
	}
	c.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}}
	c.TTY, c.OpenStdin = o.TTY, o.Stdin
	e, err := extra.FromLabels(c.Labels)
	if err != nil {
		return err
	}
	e.PostStart, e.PreStop, e.StdinOnce = nil, nil, o.Stdin
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	return extra.ToLabels(c.Labels, e)
}

// oneOffName is service-run-1a2b3c, cut to Swarm's limit.
func oneOffName(service string) (string, error) {
	var b [3]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("name a one-off task: %w", err)
	}
	end := "-run-" + hex.EncodeToString(b[:])
	return strings.TrimRight(service[:min(len(service), maxServiceName-len(end))], "-_") + end, nil
}

// Job is a one-off service that has been created.
type Job struct {
	Name string
	ID   string

	cli Client
}

// Start creates a one-off service.
func Start(ctx context.Context, cli Client, spec swarm.ServiceSpec, auth string) (Job, error) {
	created, err := cli.ServiceCreate(ctx, spec, swarm.ServiceCreateOptions{EncodedRegistryAuth: auth})
	if err != nil {
		return Job{}, fmt.Errorf("create service %s: %w", spec.Name, err)
	}
	return Job{Name: spec.Name, ID: created.ID, cli: cli}, nil
}

// Remove takes the job away, its task and containers too.
func (j Job) Remove(ctx context.Context) error {
	if err := j.cli.ServiceRemove(ctx, j.ID); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove service %s: %w", j.Name, err)
	}
	return nil
}

// Await returns the job's task once it has reached what the caller waits for, or has ended. Waiting says, whenever that
// changes, what the task is waiting for.
func (j Job) Await(ctx context.Context, reached func(swarm.Task) bool, waiting func(string)) (swarm.Task, error) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	wake := watch(watching, j.cli)
	last, good := "", time.Now()
	for {
		list, err := j.cli.TaskList(ctx, swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("service", j.ID))})
		switch {
		case ctx.Err() != nil:
			return swarm.Task{}, context.Cause(ctx)
		case errdefs.IsNotFound(err):
			return swarm.Task{}, fmt.Errorf("service %s was removed", j.Name)
		case err != nil && (!temporary(err) || time.Since(good) > patience):
			return swarm.Task{}, fmt.Errorf("list tasks: %w", err)
		case err == nil:
			good = time.Now()
			for _, t := range list {
				if reached(t) || ended(t.Status.State) {
					return t, nil
				}
				if why := t.Status.Err; why != last && why != "" {
					last = why
					waiting(why)
				}
			}
		}
		if err := wake(ctx); err != nil {
			return swarm.Task{}, err
		}
	}
}

// Running reports a task whose process has been started.
func Running(t swarm.Task) bool { return t.Status.State == swarm.TaskStateRunning }

// Output copies what a running task writes until it has ended, and returns the task as it ended.
func (j Job) Output(ctx context.Context, t swarm.Task, out, errOut io.Writer) (swarm.Task, error) {
	stream, err := j.cli.TaskLogs(ctx, t.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: true})
	if err != nil {
		return t, fmt.Errorf("read the output of %s: %w", j.Name, err)
	}
	defer stream.Close()
	arrived := make(chan struct{}, 1)
	in := io.TeeReader(stream, signal(arrived))
	copied := make(chan error, 1)
	go func() {
		var err error
		if t.Spec.ContainerSpec != nil && t.Spec.ContainerSpec.TTY {
			_, err = io.Copy(out, in)
		} else {
			_, err = stdcopy.StdCopy(out, errOut, in)
		}
		copied <- err
	}()
	done, err := j.Await(ctx, func(swarm.Task) bool { return false }, func(string) {})
	if err != nil {
		return t, err
	}
	late := time.NewTimer(drain)
	defer late.Stop()
	silence := time.NewTimer(quiet)
	defer silence.Stop()
	for {
		select {
		case err := <-copied:
			return done, err
		case <-arrived:
			silence.Reset(quiet)
		case <-silence.C:
			return done, nil
		case <-late.C:
			return done, nil
		case <-ctx.Done():
			return done, context.Cause(ctx)
		}
	}
}

// signal is a writer that only tells of being written to.
type signal chan<- struct{}

func (s signal) Write(b []byte) (int, error) {
	select {
	case s <- struct{}{}:
	default:
	}
	return len(b), nil
}
