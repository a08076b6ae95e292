package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/test/lab"
)

// hosts is the size of a cluster of several machines: three managers and two workers.
const hosts, managers = 5, 3

// machines is a cluster of several machines: orch, or dockerd's swarm mode.
type machines struct {
	lab     *lab.Lab
	program string // of orch; "" for swarm mode
	nodes   []*cluster
}

// startMachines makes a cluster with the first hosts as managers.
func startMachines(ctx context.Context, program string, size, managers int) (*machines, error) {
	l, err := lab.Up(ctx, lab.Config{Hosts: size})
	if err != nil {
		return nil, err
	}
	m := &machines{lab: l, program: program}
	if err = l.Load(ctx); err == nil {
		err = m.found(ctx, managers)
	}
	if err != nil {
		return nil, errors.Join(err, l.Down())
	}
	return m, nil
}

func (m *machines) found(ctx context.Context, managers int) error {
	first, err := m.start(ctx, m.lab.Hosts[0])
	if err != nil {
		return err
	}
	m.nodes = append(m.nodes, first)
	for i, h := range m.lab.Hosts[1:] {
		n, err := m.member(ctx, h)
		if err != nil {
			return err
		}
		m.nodes = append(m.nodes, n)
		if err := m.join(ctx, n, i+1 < managers); err != nil {
			return err
		}
	}
	return m.settled(ctx, len(m.nodes), managers)
}

func (m *machines) start(ctx context.Context, h *lab.Host) (*cluster, error) {
	if m.program == "" {
		return startSwarm(ctx, h)
	}
	return startOrch(ctx, h, m.program)
}

// member is a machine that is in no cluster yet, or in the one from before its restart.
func (m *machines) member(ctx context.Context, h *lab.Host) (*cluster, error) {
	n := &cluster{host: h, socket: filepath.Join(h.Dir, "docker.sock")}
	if m.program != "" {
		n.socket = filepath.Join(h.Dir, "orch.sock")
		if err := n.daemonize(ctx, m.program); err != nil {
			return nil, err
		}
	}
	var err error
	if n.api, err = connect(n.socket); err != nil {
		return nil, err
	}
	return n, wait(ctx, func() (bool, error) { _, err := n.api.Ping(ctx); return err == nil, nil })
}

// daemonize starts orch's daemon.
func (c *cluster) daemonize(ctx context.Context, program string) error {
	log, err := os.OpenFile(filepath.Join(c.host.Dir, "orch.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	c.daemon = c.host.Command(context.WithoutCancel(ctx), program, "daemon", "--data-dir", filepath.Join(c.host.Dir, "orch"), "--socket", c.socket, "--docker-host", c.host.DockerHost())
	c.daemon.Stdout, c.daemon.Stderr = log, log
	return c.daemon.Start()
}

func (m *machines) join(ctx context.Context, n *cluster, manager bool) error {
	s, err := m.nodes[0].api.SwarmInspect(ctx)
	if err != nil {
		return err
	}
	r := swarm.JoinRequest{ListenAddr: "0.0.0.0:2377", AdvertiseAddr: n.host.Addr, RemoteAddrs: []string{m.nodes[0].host.Addr + ":2377"}, JoinToken: s.JoinTokens.Worker}
	if manager {
		r.JoinToken = s.JoinTokens.Manager
	}
	if err := n.api.SwarmJoin(ctx, r); err != nil {
		return fmt.Errorf("join %s: %w", n.host.Name, err)
	}
	return nil
}

// settled waits until all nodes are ready and the managers reachable, as each of the managers sees it.
func (m *machines) settled(ctx context.Context, nodes, managers int) error {
	last := ""
	err := wait(ctx, func() (bool, error) {
		for _, n := range m.nodes[:managers] {
			list, err := n.api.NodeList(ctx, swarm.NodeListOptions{})
			ready, reachable := 0, 0
			for _, node := range list {
				if node.Status.State == swarm.NodeStateReady {
					ready++
				}
				if s := node.ManagerStatus; s != nil && s.Reachability == swarm.ReachabilityReachable {
					reachable++
				}
			}
			if err != nil || ready != nodes || reachable != managers {
				last = fmt.Sprintf("through %s: %d of %d nodes ready, %d of %d managers reachable, error %v", n.host.Name, ready, nodes, reachable, managers, err)
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("wait for all machines: %w (%s)", err, last)
	}
	return nil
}

// leader is the manager that leads, and another one.
func (m *machines) leader(ctx context.Context) (leader, other *cluster, err error) {
	err = wait(ctx, func() (bool, error) {
		list, err := m.nodes[0].api.NodeList(ctx, swarm.NodeListOptions{})
		if err != nil {
			return false, nil
		}
		for _, node := range list {
			if node.ManagerStatus != nil && node.ManagerStatus.Leader {
				for _, n := range m.nodes {
					if n.host.Name == node.Description.Hostname {
						leader = n
					}
				}
			}
		}
		return leader != nil, nil
	})
	for _, n := range m.nodes {
		if n != leader && other == nil {
			other = n
		}
	}
	return leader, other, err
}

// back starts a machine that was killed.
func (m *machines) back(ctx context.Context, n *cluster) error {
	if err := n.host.Start(ctx); err != nil {
		return err
	}
	if n.daemon == nil {
		return nil
	}
	_ = n.daemon.Wait() // killed with its machine
	return n.daemonize(ctx, m.program)
}

func (m *machines) down() error { return m.lab.Down() }

// writing writes to a manager without a pause until its context ends, and notes the longest time without a write.
type writing struct {
	done    chan struct{}
	longest time.Duration
	writes  int
	err     error
}

func (c *cluster) keepWriting(ctx context.Context, name string) *writing {
	w := &writing{done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for last := time.Now(); ctx.Err() == nil; {
			_, err := c.api.ConfigCreate(ctx, swarm.ConfigSpec{Annotations: swarm.Annotations{Name: fmt.Sprintf("%s-%d", name, w.writes)}, Data: []byte("x")})
			w.writes++
			if err != nil {
				w.err = err
				continue
			}
			w.longest = max(w.longest, time.Since(last))
			last = time.Now()
		}
	}()
	return w
}

// used is the memory in MB and the processor time of a daemon's process.
func (c *cluster) used() (rss float64, cpu time.Duration, err error) {
	dir := fmt.Sprintf("/proc/%d/", c.daemon.Process.Pid)
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kb int64
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		return 0, 0, fmt.Errorf("read VmRSS: %w", err)
	}
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ = strings.Cut(string(stat), ") ") // state is the first field then, utime the 12th, stime the 13th
	fields := strings.Fields(rest)
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, 0, fmt.Errorf("read the processor time: %w", err)
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux
	return float64(kb) / 1000, time.Duration(user+system) * tick, nil
}

func (c *cluster) signal(s syscall.Signal) error { return c.daemon.Process.Signal(s) }
