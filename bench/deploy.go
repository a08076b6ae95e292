package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"orch/test/lab"
)

// rounds are how often a measurement is made; its figure is the median.
const rounds = 5

// deploy measures one machine: orch on one host, swarm mode on another, and the floor on a third.
func deploy(ctx context.Context, b *bench) error {
	l, err := lab.Up(ctx, lab.Config{Hosts: 3})
	if err != nil {
		return err
	}
	return errors.Join(measureDeploy(ctx, b, l), l.Down())
}

// trio is what deploy compares.
type trio struct {
	orch, swarm *cluster
	floor       *lab.Host
}

func measureDeploy(ctx context.Context, b *bench, l *lab.Lab) error {
	if err := l.Load(ctx); err != nil {
		return err
	}
	orch, err := startOrch(ctx, l.Hosts[0], b.orch)
	if err != nil {
		return err
	}
	b.report(figure{name: "daemon and cluster ready from nothing", value: orch.ready.Seconds(), target: 2, unit: "s"})
	swarm, err := startSwarm(ctx, l.Hosts[1])
	if err != nil {
		return err
	}
	t := trio{orch, swarm, l.Hosts[2]}
	for _, measure := range []func(context.Context, *bench, trio) error{starts, kills, removals, stacks, idle, reads} {
		if err := measure(ctx, b, t); err != nil {
			return err
		}
	}
	return nil
}

// starts compares 1, 20 and 100 replicas, the three in turn in each round.
func starts(ctx context.Context, b *bench, t trio) error {
	docker, err := t.floor.Docker()
	if err != nil {
		return err
	}
	defer docker.Close()
	for _, n := range []int{1, 20, 100} {
		var floor, own, peer []time.Duration
		for range max(1, rounds*20/max(n, 20)) {
			ids, took, err := startFloor(ctx, docker, n)
			if err != nil {
				return err
			}
			floor = append(floor, took)
			if _, err := stopFloor(ctx, docker, ids); err != nil {
				return err
			}
			for c, into := range map[*cluster]*[]time.Duration{t.orch: &own, t.swarm: &peer} {
				id, took, err := c.start(ctx, service(fmt.Sprintf("bench%d", n), uint64(n)))
				if err != nil {
					return err
				}
				*into = append(*into, took)
				if _, err := c.remove(ctx, id); err != nil {
					return err
				}
			}
		}
		low := median(floor)
		if n == 1 {
			b.report(figure{name: "1 replica running, beyond the Docker API's time", value: median(own) - low, target: 0.1, unit: "s", peer: "swarm", other: median(peer) - low, ahead: true})
			continue
		}
		b.report(figure{name: fmt.Sprintf("%d replicas running, by the Docker API's time", n), value: median(own) / low, target: 1.12, unit: "×", peer: "swarm", other: median(peer) / low, ahead: true})
	}
	return nil
}

// kills times from a task's process killed to its replacement running.
func kills(ctx context.Context, b *bench, t trio) error {
	var medians []float64
	for _, c := range []*cluster{t.orch, t.swarm} {
		id, _, err := c.start(ctx, service("kill", 1))
		if err != nil {
			return err
		}
		var took []time.Duration
		for range rounds {
			d, err := c.killTask(ctx, id)
			if err != nil {
				return err
			}
			took = append(took, d)
		}
		if _, err := c.remove(ctx, id); err != nil {
			return err
		}
		medians = append(medians, median(took))
	}
	b.report(figure{name: "a task's process killed, its replacement running", value: medians[0], target: 0.4, unit: "s", peer: "swarm", other: medians[1], ahead: true})
	return nil
}

func (c *cluster) killTask(ctx context.Context, service string) (time.Duration, error) {
	tasks, err := c.running(ctx, service)
	if err != nil || len(tasks) != 1 {
		return 0, fmt.Errorf("%d tasks run, want 1: %w", len(tasks), err)
	}
	begin := time.Now()
	if err := syscall.Kill(tasks[0].Status.ContainerStatus.PID, syscall.SIGKILL); err != nil {
		return 0, fmt.Errorf("kill the task: %w", err)
	}
	err = wait(ctx, func() (bool, error) {
		now, err := c.running(ctx, service)
		return len(now) == 1 && now[0].ID != tasks[0].ID, err
	})
	return time.Since(begin), err
}

// removals times `service rm` of one replica beyond what stopping and removing its container takes by itself.
func removals(ctx context.Context, b *bench, t trio) error {
	docker, err := t.floor.Docker()
	if err != nil {
		return err
	}
	defer docker.Close()
	took := map[*cluster][]time.Duration{}
	var floor []time.Duration
	for range rounds {
		ids, _, err := startFloor(ctx, docker, 1)
		if err != nil {
			return err
		}
		d, err := stopFloor(ctx, docker, ids)
		if err != nil {
			return err
		}
		floor = append(floor, d)
		for _, c := range []*cluster{t.orch, t.swarm} {
			id, _, err := c.start(ctx, service("remove", 1))
			if err != nil {
				return err
			}
			if d, err = c.remove(ctx, id); err != nil {
				return err
			}
			took[c] = append(took[c], d)
		}
	}
	low := median(floor)
	b.report(figure{name: "service rm, container gone, beyond its own stopping", value: median(took[t.orch]) - low, target: 0.2, unit: "s", peer: "swarm", other: median(took[t.swarm]) - low, ahead: true})
	return nil
}

// stacks times a stack of ten services on its own network: an unchanged deploy, and its removal.
func stacks(ctx context.Context, b *bench, t trio) error {
	var file strings.Builder
	file.WriteString("name: bench\nservices:\n")
	for i := range 10 {
		fmt.Fprintf(&file, "  s%d: {image: %q, networks: [own]}\n", i, lab.Image)
	}
	file.WriteString("networks: {own: {}}\n")
	var again, gone []time.Duration
	for _, c := range []*cluster{t.orch, t.swarm} {
		path := filepath.Join(c.host.Dir, "compose.yml")
		if err := os.WriteFile(path, []byte(file.String()), 0o644); err != nil {
			return err
		}
		if _, err := c.cli(ctx, b.orch, "deploy", "-c", path); err != nil {
			return err
		}
		var unchanged []time.Duration
		for range rounds {
			d, err := c.cli(ctx, b.orch, "deploy", "-c", path)
			if err != nil {
				return err
			}
			unchanged = append(unchanged, d)
		}
		removed, err := c.cli(ctx, b.orch, "rm", "bench")
		if err != nil {
			return err
		}
		again, gone = append(again, time.Duration(median(unchanged)*float64(time.Second))), append(gone, removed)
	}
	b.report(figure{name: "deploy of an unchanged stack of 10", value: again[0].Seconds(), target: 0.1, unit: "s", peer: "swarm", other: again[1].Seconds()})
	b.report(figure{name: "rm of a stack of 10 on its own network", value: gone[0].Seconds(), target: 2, unit: "s", peer: "swarm", other: gone[1].Seconds(), ahead: true})
	return nil
}

// cli times one run of the command line against the cluster.
func (c *cluster) cli(ctx context.Context, program string, args ...string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "ORCH_HOST=unix://"+c.socket)
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("orch %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return time.Since(begin), nil
}
