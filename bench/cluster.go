package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"

	"orch/test/lab"
)

const (
	// poll is how often tasks are asked for; the error of a measured time is half of it.
	poll = 10 * time.Millisecond
	// limit bounds every single wait.
	limit = 3 * time.Minute
)

// cluster is a one-node cluster to measure: orch, or dockerd's swarm mode.
type cluster struct {
	host   *lab.Host
	api    *client.Client
	socket string
	daemon *exec.Cmd // orch's; nil for swarm mode
	ready  time.Duration
}

func connect(socket string) (*client.Client, error) {
	return client.NewClientWithOpts(client.WithHost("unix://"+socket), client.WithAPIVersionNegotiation())
}

func startSwarm(ctx context.Context, h *lab.Host) (*cluster, error) {
	socket := filepath.Join(h.Dir, "docker.sock")
	api, err := connect(socket)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if _, err := api.SwarmInit(ctx, swarm.InitRequest{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: h.Addr}); err != nil {
		return nil, err
	}
	return &cluster{host: h, api: api, socket: socket, ready: time.Since(begin)}, nil
}

// startOrch times the way from no process and no data to the first answer of a cluster.
func startOrch(ctx context.Context, h *lab.Host, program string) (*cluster, error) {
	begin := time.Now()
	c, err := startDaemon(ctx, h, program)
	if err != nil {
		return nil, err
	}
	if _, err := c.api.SwarmInit(ctx, swarm.InitRequest{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: h.Addr}); err != nil {
		return nil, err
	}
	if _, err := c.api.ServiceList(ctx, swarm.ServiceListOptions{}); err != nil {
		return nil, err
	}
	c.ready = time.Since(begin)
	return c, nil
}

// startDaemon starts orch on a host, in no cluster yet.
func startDaemon(ctx context.Context, h *lab.Host, program string) (*cluster, error) {
	c := &cluster{host: h, socket: filepath.Join(h.Dir, "orch.sock")}
	log, err := os.Create(filepath.Join(h.Dir, "orch.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.daemon = h.Command(context.WithoutCancel(ctx), program, "daemon", "--data-dir", filepath.Join(h.Dir, "orch"), "--socket", c.socket, "--docker-host", h.DockerHost())
	c.daemon.Stdout, c.daemon.Stderr = log, log
	if err := c.daemon.Start(); err != nil {
		return nil, err
	}
	if c.api, err = connect(c.socket); err != nil {
		return nil, err
	}
	if err := wait(ctx, func() (bool, error) { _, err := c.api.Ping(ctx); return err == nil, nil }); err != nil {
		b, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("start orch: %w\n%s", err, b[max(0, len(b)-2000):])
	}
	return c, nil
}

// join makes a host a worker of the cluster.
func (c *cluster) join(ctx context.Context, h *lab.Host, program string) (*cluster, error) {
	worker, err := startDaemon(ctx, h, program)
	if err != nil {
		return nil, err
	}
	info, err := c.api.SwarmInspect(ctx)
	if err != nil {
		return nil, err
	}
	return worker, worker.api.SwarmJoin(ctx, swarm.JoinRequest{
		ListenAddr: "0.0.0.0:2377", AdvertiseAddr: h.Addr, RemoteAddrs: []string{c.host.Addr + ":2377"}, JoinToken: info.JoinTokens.Worker,
	})
}

// wait asks until done says so.
func wait(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// service is a plain service of the test image.
func service(name string, replicas uint64) swarm.ServiceSpec {
	none := time.Duration(0)
	s := swarm.ServiceSpec{Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}}}
	s.Name = name
	s.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: lab.Image}
	s.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny, Delay: &none}
	return s
}

func (c *cluster) running(ctx context.Context, service string) ([]swarm.Task, error) {
	tasks, err := c.api.TaskList(ctx, swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("service", service), filters.Arg("desired-state", "running"))})
	var out []swarm.Task
	for _, t := range tasks {
		if t.Status.State == swarm.TaskStateRunning {
			out = append(out, t)
		}
	}
	return out, err
}

// start creates a service and times until all its tasks run.
func (c *cluster) start(ctx context.Context, spec swarm.ServiceSpec) (string, time.Duration, error) {
	begin := time.Now()
	created, err := c.api.ServiceCreate(ctx, spec, swarm.ServiceCreateOptions{})
	if err != nil {
		return "", 0, fmt.Errorf("create service %s: %w", spec.Name, err)
	}
	err = wait(ctx, func() (bool, error) {
		tasks, err := c.running(ctx, created.ID)
		return len(tasks) == int(*spec.Mode.Replicated.Replicas), err
	})
	if err != nil {
		return "", 0, fmt.Errorf("tasks of %s: %w", spec.Name, err)
	}
	return created.ID, time.Since(begin), nil
}

// remove removes a service and times until none of its containers is left.
func (c *cluster) remove(ctx context.Context, id string) (time.Duration, error) {
	begin := time.Now()
	if err := c.api.ServiceRemove(ctx, id); err != nil {
		return 0, fmt.Errorf("remove service: %w", err)
	}
	err := wait(ctx, func() (bool, error) {
		n, err := containers(ctx, c.api, "com.docker.swarm.service.id="+id)
		return n == 0, err
	})
	return time.Since(begin), err
}
