package compose

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
)

const (
	// settle is how long a task without a health check must have been running to count: long enough to notice a process
	// that dies at once, short enough not to be felt.
	settle = 80 * time.Millisecond
	// settleAgain is the same once a task of the service has failed: it dies again, and an engine with much to do may take
	// a while to say so.
	settleAgain = 2 * time.Second
	// patience is how long the API may fail before a deploy gives up: a change of leader takes some seconds.
	patience = 30 * time.Second
)

// rollout is one Apply under way. Its goroutine owns all of it.
type rollout struct {
	cli      Client
	plan     *Plan
	o        Options
	services []*tracked // in the file's order; the dependencies decide when each is written
	before   map[string]bool
	seen     map[string]time.Time // when each running task was first seen
	nodes    []swarm.Node
	// only restricts the watching to one service, which need not be of a stack.
	only string
}

// tracked is a service of the rollout.
type tracked struct {
	Service
	id      string // on the server; "" until it is there
	change  Change
	old     *swarm.ServiceSpec // before this deploy; nil when it was not there
	written bool               // what the plan wants is on the server
	back    bool               // its rollback is what is being waited for, and no failure
	revived bool               // it had given up before this deploy, which has started it again
	failed  map[string]swarm.Task
	verdict verdict
	shown   Event
}

func newRollout(cli Client, plan *Plan, o Options) *rollout {
	r := &rollout{cli: cli, plan: plan, o: o, before: map[string]bool{}, seen: map[string]time.Time{}}
	for _, s := range plan.want.Services {
		t := &tracked{Service: s, failed: map[string]swarm.Task{}}
		for _, c := range plan.Changes {
			if c.Kind == KindService && c.Name == s.Spec.Name {
				t.change = c
			}
		}
		if old := plan.have.service(s.Spec.Name); old != nil {
			t.old = &old.Spec
		}
		t.written = t.change.Action == Unchanged
		r.services = append(r.services, t)
	}
	return r
}

// run is the whole rollout: look, judge, write what may now be written, show, wait for the next reason to look.
func (r *rollout) run(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	wake := watch(watching, r.cli)
	good := time.Now()
	for {
		wrote, err := r.step(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && (!temporary(err) || time.Since(good) > patience):
			return err
		case err == nil:
			good = time.Now()
			if r.all(func(t *tracked) bool { return t.written && (r.o.Detach || t.verdict.phase == Done) }) {
				return nil
			}
			if r.any(func(t *tracked) bool { return t.verdict.phase == Failed }) {
				return errFailed
			}
			if wrote {
				continue // what was written may already be enough for the next in line
			}
		}
		if err := wake(ctx); err != nil {
			return err
		}
	}
}

// step looks once, and writes the services whose dependencies are satisfied.
func (r *rollout) step(ctx context.Context) (wrote bool, err error) {
	services, tasks, err := r.look(ctx)
	if err != nil {
		return false, err
	}
	verdicts := map[string]verdict{}
	for _, t := range r.services {
		t.verdict = verdict{phase: Waiting, desired: desired(look{spec: t.Spec, nodes: len(r.nodes)})}
		if s := find(services, t.Spec.Name); s != nil && t.written {
			t.id = s.ID
			t.verdict = r.judge(t, s, tasks)
			if t.change.Action == Unchanged && t.verdict.gaveUp && !t.revived {
				if err := r.revive(ctx, t, *s); err != nil {
					return wrote, err
				}
				wrote = true
			}
		}
		verdicts[t.Key] = t.verdict
	}
	for _, t := range r.services {
		if !t.written {
			if t.verdict.why = waitsFor(t.DependsOn, verdicts); t.verdict.why == "" && !r.any(func(t *tracked) bool { return t.verdict.phase == Failed }) {
				err := r.write(ctx, t, find(services, t.Spec.Name))
				switch {
				case err == nil:
					t.written, wrote, t.verdict.phase = true, true, Starting
				case ctx.Err() != nil || temporary(err):
					return wrote, err
				default: // refused: a port that is taken, a spec that the server does not accept
					t.verdict.phase, t.verdict.why = Failed, plain(err)
				}
			}
		}
		r.show(t)
	}
	return wrote, nil
}

// look reads the stack's services and their tasks that are up to date with them.
func (r *rollout) look(ctx context.Context) ([]swarm.Service, []swarm.Task, error) {
	of, f := stackFilter(r.plan.Stack), stackFilter(r.plan.Stack)
	if r.only != "" {
		of, f = filters.NewArgs(filters.Arg("id", r.only)), filters.NewArgs(filters.Arg("service", r.only))
	}
	services, err := r.cli.ServiceList(ctx, swarm.ServiceListOptions{Filters: of})
	if err != nil {
		return nil, nil, fmt.Errorf("list services: %w", err)
	}
	f.Add("_up-to-date", "true")
	tasks, err := r.cli.TaskList(ctx, swarm.TaskListOptions{Filters: f})
	if err != nil {
		return nil, nil, fmt.Errorf("list tasks: %w", err)
	}
	return services, tasks, r.readNodes(ctx)
}

func (r *rollout) judge(t *tracked, s *swarm.Service, tasks []swarm.Task) verdict {
	l := look{spec: s.Spec, job: s.JobStatus, oneShot: t.OneShot, failed: t.failed, nodes: len(r.nodes), closed: closed(s.Endpoint.Ports, r.nodes)}
	if t.change.Action == Update {
		l.update = s.UpdateStatus
	}
	if t.back {
		l.update = forward(l.update)
	}
	checked := s.Spec.TaskTemplate.ContainerSpec != nil && s.Spec.TaskTemplate.ContainerSpec.Healthcheck != nil
	now := time.Now()
	l.settled = func(task swarm.Task) bool {
		if checked || r.before[task.ID] {
			return true
		}
		first, ok := r.seen[task.ID]
		if !ok {
			r.seen[task.ID], first = now, now
		}
		if len(t.failed) > 0 {
			return now.Sub(first) >= settleAgain
		}
		return now.Sub(first) >= settle
	}
	for _, task := range tasks {
		if task.ServiceID != s.ID {
			continue
		}
		l.tasks = append(l.tasks, task)
		if bad(l, task) && !r.before[task.ID] {
			t.failed[task.ID] = task
		}
	}
	return judge(l)
}

// show reports a service when what is known about it has changed.
func (r *rollout) show(t *tracked) {
	e := Event{Kind: KindService, Name: t.Key, Action: t.change.Action, Phase: t.verdict.phase, Running: t.verdict.running, Desired: t.verdict.desired, Why: t.verdict.why}
	if e == t.shown {
		return
	}
	t.shown = e
	r.emit(e)
}

func (r *rollout) emit(e Event) {
	if r.o.Progress != nil {
		e.Time = time.Now()
		r.o.Progress(e)
	}
}

func (r *rollout) all(f func(*tracked) bool) bool {
	return !slices.ContainsFunc(r.services, func(t *tracked) bool { return !f(t) })
}

func (r *rollout) any(f func(*tracked) bool) bool { return slices.ContainsFunc(r.services, f) }

func (r *rollout) changed() []string {
	var names []string
	for _, c := range r.plan.Changes {
		if c.Kind == KindService && c.Action != Unchanged {
			names = append(names, r.plan.want.Short(c.Name))
		}
	}
	return names
}

// pending are the services that the plan changes and that are not written yet.
func (r *rollout) pending() []string {
	var names []string
	for _, t := range r.services {
		if !t.written {
			names = append(names, t.Key)
		}
	}
	return names
}

// readBefore notes which tasks were there before the deploy: what went wrong with them is not its doing.
func (r *rollout) readBefore(ctx context.Context) error {
	tasks, err := r.cli.TaskList(ctx, swarm.TaskListOptions{Filters: stackFilter(r.plan.Stack)})
	if err != nil {
		return fmt.Errorf("list tasks: %w", err)
	}
	for _, t := range tasks {
		r.before[t.ID] = true
	}
	return r.readNodes(ctx)
}

// readNodes notes the nodes that can run tasks, and what they say of themselves.
func (r *rollout) readNodes(ctx context.Context) error {
	nodes, err := r.cli.NodeList(ctx, swarm.NodeListOptions{Filters: filters.NewArgs()})
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	r.nodes = slices.DeleteFunc(nodes, func(n swarm.Node) bool {
		return n.Status.State != swarm.NodeStateReady || n.Spec.Availability != swarm.NodeAvailabilityActive
	})
	return nil
}

func find(services []swarm.Service, name string) *swarm.Service {
	for i := range services {
		if services[i].Spec.Name == name {
			return &services[i]
		}
	}
	return nil
}

// temporary reports an error that a change of leader or a restart of the server explains.
func temporary(err error) bool {
	text := err.Error()
	for _, s := range []string{"Cannot connect", "connection refused", "connection reset", "EOF", "does not have a leader", "no leader", "Unavailable", "503", "not currently"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}
