package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"

	"orch/test/lab"
	"orch/test/traffic"
)

const (
	updated     = 10 // replicas of the service that is updated
	inParallel  = 2
	monitored   = time.Second
	publishedAt = 8080
	// consecutive are the updates that have to pass without one failed request.
	consecutive = 20
)

// update measures rolling updates: how long they take beside swarm mode and beside the containers' own times, and what clients of
// a published port notice.
func update(ctx context.Context, b *bench) error {
	l, err := lab.Up(ctx, lab.Config{Hosts: 3})
	if err != nil {
		return err
	}
	return errors.Join(measureUpdate(ctx, b, l), l.Down())
}

func measureUpdate(ctx context.Context, b *bench, l *lab.Lab) error {
	if err := l.Load(ctx); err != nil {
		return err
	}
	orch, err := startOrch(ctx, l.Hosts[0], b.orch)
	if err != nil {
		return err
	}
	swarm, err := startSwarm(ctx, l.Hosts[1])
	if err != nil {
		return err
	}
	t := trio{orch, swarm, l.Hosts[2]}
	for _, measure := range []func(context.Context, *bench, trio) error{rolling, soak, unchanged} {
		if err := measure(ctx, b, t); err != nil {
			return err
		}
	}
	return nil
}

// web is the service that is updated. Swarm mode publishes nothing: without ip_vs its ports lead nowhere, and its
// updates take no longer for that.
func web(order string, published bool) swarm.ServiceSpec {
	s := service("web", updated)
	s.TaskTemplate.ContainerSpec.Args = []string{"serve", fmt.Sprintf(":%d", publishedAt)}
	s.UpdateConfig = &swarm.UpdateConfig{Parallelism: inParallel, Monitor: monitored, Order: order, FailureAction: swarm.UpdateFailureActionRollback}
	s.RollbackConfig = &swarm.UpdateConfig{Parallelism: inParallel, Monitor: monitored, Order: order}
	if published {
		s.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: publishedAt, PublishedPort: publishedAt}}}
	}
	return s
}

// rolling times one forced update in either order. orch's is under load, swarm mode's is not.
func rolling(ctx context.Context, b *bench, t trio) error {
	for _, order := range []struct {
		name          string
		target, other float64
	}{{swarm.UpdateOrderStartFirst, 3, 0}, {swarm.UpdateOrderStopFirst, 9, 0}} {
		peer, _, err := t.swarm.rolled(ctx, web(order.name, false), nil)
		if err != nil {
			return fmt.Errorf("swarm mode, %s: %w", order.name, err)
		}
		own, went, err := t.orch.rolled(ctx, web(order.name, true), t.orch.host.Dial)
		if err != nil {
			return fmt.Errorf("orch, %s: %w", order.name, err)
		}
		low, err := t.unavoidable(ctx, order.name)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("update of %d, %s, ", updated, order.name)
		b.report(figure{name: what + "completed", value: own.completed.Seconds(), target: order.target, unit: "s", peer: "swarm", other: peer.completed.Seconds(), ahead: true})
		b.report(figure{name: what + "old containers gone", value: own.gone.Seconds(), target: order.target, unit: "s", peer: "swarm", other: peer.gone.Seconds(), ahead: true})
		b.report(figure{name: what + "by its own waits", value: max(own.completed, own.gone).Seconds() / low.Seconds(), target: 1.3, unit: "×", peer: "swarm", other: max(peer.completed, peer.gone).Seconds() / low.Seconds()})
		b.report(figure{name: what + "failed requests", value: float64(went.Failed), target: 0})
	}
	return nil
}

// took is how long an update was under way, and how long the containers that it replaced were there.
type took struct{ completed, gone time.Duration }

// rolled starts a service, updates all of its tasks, and removes it.
func (c *cluster) rolled(ctx context.Context, spec swarm.ServiceSpec, from traffic.Dialer) (took, traffic.Result, error) {
	id, _, err := c.start(ctx, spec)
	if err != nil {
		return took{}, traffic.Result{}, err
	}
	var clients *traffic.Load
	if from != nil {
		clients = traffic.Start(ctx, fmt.Sprintf("http://127.0.0.1:%d/", publishedAt), from)
	}
	d, err := c.update(ctx, id, func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ }, swarm.UpdateStateCompleted)
	var went traffic.Result
	if clients != nil {
		went = end(clients)
	}
	if err != nil {
		return d, went, err
	}
	_, err = c.remove(ctx, id)
	return d, went, err
}

// end stops a load and tells of it what a figure has no room for.
func end(l *traffic.Load) traffic.Result {
	r := l.End()
	fmt.Printf("  %d requests, %d failed, slowest %.3f s\n", r.Requests, r.Failed, r.Slowest.Seconds())
	for _, e := range r.Errors {
		fmt.Println("  ", e)
	}
	return r
}

// update changes a service and waits until its update has ended as it should and what it replaced is gone.
func (c *cluster) update(ctx context.Context, id string, change func(*swarm.ServiceSpec), want swarm.UpdateState) (d took, err error) {
	old, err := c.running(ctx, id)
	if err != nil {
		return d, err
	}
	s, _, err := c.api.ServiceInspectWithRaw(ctx, id, swarm.ServiceInspectOptions{})
	if err != nil {
		return d, err
	}
	change(&s.Spec)
	begin := time.Now()
	if _, err := c.api.ServiceUpdate(ctx, id, s.Version, s.Spec, swarm.ServiceUpdateOptions{}); err != nil {
		return d, err
	}
	err = wait(ctx, func() (bool, error) {
		s, _, err := c.api.ServiceInspectWithRaw(ctx, id, swarm.ServiceInspectOptions{})
		if err != nil || s.UpdateStatus == nil || s.UpdateStatus.CompletedAt == nil && !strings.HasSuffix(string(s.UpdateStatus.State), "paused") {
			return false, err
		}
		if s.UpdateStatus.State != want {
			return false, fmt.Errorf("the update ended as %s, not %s: %s", s.UpdateStatus.State, want, s.UpdateStatus.Message)
		}
		return true, nil
	})
	d.completed = time.Since(begin)
	if err != nil || want != swarm.UpdateStateCompleted {
		return d, err
	}
	err = wait(ctx, func() (bool, error) { n, err := c.still(ctx, old); return n == 0, err })
	d.gone = time.Since(begin)
	return d, err
}

// still counts the tasks whose containers run.
func (c *cluster) still(ctx context.Context, tasks []swarm.Task) (n int, err error) {
	list, err := c.api.ContainerList(ctx, container.ListOptions{})
	for _, running := range list {
		for _, t := range tasks {
			if running.ID == t.Status.ContainerStatus.ContainerID {
				n++
			}
		}
	}
	return n, err
}

// unavoidable is what the update would take with nothing between its steps: the containers of each batch started one batch after
// the other through the Docker API (stop-first: after the stop of as many), and the monitored time.
func (t trio) unavoidable(ctx context.Context, order string) (time.Duration, error) {
	docker, err := t.floor.Docker()
	if err != nil {
		return 0, err
	}
	defer docker.Close()
	sum := monitored
	for range updated / inParallel {
		ids, started, err := startFloor(ctx, docker, inParallel)
		if err != nil {
			return 0, err
		}
		stopped, err := stopFloor(ctx, docker, ids)
		if err != nil {
			return 0, err
		}
		sum += started
		if order == swarm.UpdateOrderStopFirst {
			sum += stopped
		}
	}
	return sum, nil
}

// soak updates a service again and again under load, with every second image broken.
func soak(ctx context.Context, b *bench, t trio) error {
	spec := web(swarm.UpdateOrderStartFirst, true)
	spec.TaskTemplate.ContainerSpec.Healthcheck = &container.HealthConfig{
		Test: []string{"CMD", "/app", "get", fmt.Sprintf("http://127.0.0.1:%d/", publishedAt)}, Interval: time.Second,
	}
	id, _, err := t.orch.start(ctx, spec)
	if err != nil {
		return err
	}
	clients := traffic.Start(ctx, fmt.Sprintf("http://127.0.0.1:%d/", publishedAt), t.orch.host.Dial)
	good := func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ }
	bad := func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Args = []string{"exit", "1", "100ms"} }
	for i := range consecutive {
		change, want := good, swarm.UpdateStateCompleted
		if i%2 == 1 {
			change, want = bad, swarm.UpdateStateRollbackCompleted
		}
		if _, err := t.orch.update(ctx, id, change, want); err != nil {
			end(clients)
			return fmt.Errorf("update %d: %w", i+1, err)
		}
	}
	went := end(clients)
	b.report(figure{name: fmt.Sprintf("%d updates, every second one rolled back, failed requests", consecutive), value: float64(went.Failed), target: 0})
	_, err = t.orch.remove(ctx, id)
	return err
}

// unchanged deploys a stack of fifty again.
func unchanged(ctx context.Context, b *bench, t trio) error {
	var file strings.Builder
	file.WriteString("name: fifty\nservices:\n")
	for i := range 50 {
		fmt.Fprintf(&file, "  s%d: {image: %q, networks: [own]}\n", i, lab.Image)
	}
	file.WriteString("networks: {own: {}}\n")
	path := filepath.Join(t.orch.host.Dir, "fifty.yml")
	if err := os.WriteFile(path, []byte(file.String()), 0o644); err != nil {
		return err
	}
	if _, err := t.orch.cli(ctx, b.orch, "deploy", "-c", path); err != nil {
		return err
	}
	before, err := t.orch.index(ctx)
	if err != nil {
		return err
	}
	var again []time.Duration
	for range rounds {
		d, err := t.orch.cli(ctx, b.orch, "deploy", "-c", path)
		if err != nil {
			return err
		}
		again = append(again, d)
	}
	after, err := t.orch.index(ctx)
	if err != nil {
		return err
	}
	b.report(figure{name: "deploy of an unchanged stack of 50", value: median(again), target: 0.3, unit: "s"})
	b.report(figure{name: "writes of such deploys", value: float64(after - before), target: 0})
	_, err = t.orch.cli(ctx, b.orch, "rm", "fifty")
	return err
}

// index is the highest version of anything that a deploy could write.
func (c *cluster) index(ctx context.Context) (index uint64, err error) {
	services, err := c.api.ServiceList(ctx, swarm.ServiceListOptions{})
	if err != nil {
		return 0, err
	}
	for _, s := range services {
		index = max(index, s.Version.Index)
	}
	tasks, err := c.api.TaskList(ctx, swarm.TaskListOptions{})
	for _, t := range tasks {
		index = max(index, t.Version.Index)
	}
	return index, err
}
