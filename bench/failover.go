package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"
)

const (
	// tasks run on all machines while one is lost, about a fifth of them there.
	tasks = 50
	// watched is how long the steady state is watched.
	watched = 20 * time.Second
	// peerRounds is how often swarm mode loses its leader: each time costs it tens of seconds.
	peerRounds = 2
)

// failover is what is lost when machines are: the leader, a worker, and at a lone manager's restart.
func failover(ctx context.Context, b *bench) error {
	peer, err := measureSwarm(ctx)
	if err != nil {
		return fmt.Errorf("swarm mode: %w", err)
	}
	m, err := startMachines(ctx, b.orch, hosts, managers)
	if err != nil {
		return err
	}
	err = m.measure(ctx, b, peer)
	if err = errors.Join(err, m.down()); err != nil {
		return err
	}
	return alone(ctx, b)
}

// loss is what one loss of a leader cost: until a write went through, until its task ran after that, and the longest
// read through another manager meanwhile.
type loss struct{ write, task, read time.Duration }

// swarmFigures are swarm mode's, on the same kind of machines.
type swarmFigures struct {
	losses             []loss
	nodeDown, replaced time.Duration
}

func measureSwarm(ctx context.Context) (f swarmFigures, err error) {
	m, err := startMachines(ctx, "", hosts, managers)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, m.down()) }()
	if f.nodeDown, f.replaced, err = m.loseWorker(ctx); err != nil {
		return f, fmt.Errorf("lose a worker: %w", err)
	}
	for round := range peerRounds {
		l, err := m.loseLeader(ctx, round)
		if err != nil {
			return f, fmt.Errorf("lose the leader: %w", err)
		}
		f.losses = append(f.losses, l)
	}
	return f, nil
}

func (m *machines) measure(ctx context.Context, b *bench, peer swarmFigures) error {
	nodeDown, replaced, err := m.loseWorker(ctx)
	if err != nil {
		return fmt.Errorf("lose a worker: %w", err)
	}
	b.report(figure{name: "worker lost: shown down", value: nodeDown.Seconds(), target: 3.5, unit: "s", peer: "swarm mode", other: peer.nodeDown.Seconds()})
	b.report(figure{name: "worker lost: all its tasks run elsewhere", value: replaced.Seconds(), target: 5, unit: "s", peer: "swarm mode", other: peer.replaced.Seconds()})
	if err := m.steady(ctx, b); err != nil {
		return fmt.Errorf("steady state: %w", err)
	}
	var losses []loss
	for round := range b.rounds {
		l, err := m.loseLeader(ctx, round)
		if err != nil {
			return fmt.Errorf("lose the leader, round %d: %w", round+1, err)
		}
		losses = append(losses, l)
	}
	pick := func(list []loss, of func(loss) time.Duration) (out []time.Duration) {
		for _, l := range list {
			out = append(out, of(l))
		}
		return out
	}
	write, task, read := func(l loss) time.Duration { return l.write }, func(l loss) time.Duration { return l.task }, func(l loss) time.Duration { return l.read }
	what := fmt.Sprintf("leader's machine lost, %d times: ", b.rounds)
	b.report(figure{name: what + "writes again, median", value: median(pick(losses, write)), target: 2.5, unit: "s", peer: "swarm mode", other: median(pick(peer.losses, write))})
	b.report(figure{name: what + "writes again, worst", value: percentile(pick(losses, write), 1), target: 4, unit: "s", peer: "swarm mode", other: percentile(pick(peer.losses, write), 1)})
	b.report(figure{name: what + "new task runs after that", value: median(pick(losses, task)), target: 1, unit: "s", peer: "swarm mode", other: median(pick(peer.losses, task))})
	b.report(figure{name: what + "longest read elsewhere", value: percentile(pick(losses, read), 1), target: 1, unit: "s", peer: "swarm mode", other: percentile(pick(peer.losses, read), 1)})
	return m.stopLeader(ctx, b)
}

// loseLeader kills the leader's machine and brings it back.
func (m *machines) loseLeader(ctx context.Context, round int) (l loss, err error) {
	leader, other, err := m.leader(ctx)
	if err != nil {
		return l, err
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	read := make(chan time.Duration, 1)
	go func() { read <- longestRead(reading, other) }()
	begin := time.Now()
	if err := leader.host.Kill(); err != nil {
		return l, err
	}
	spec := service(fmt.Sprintf("after-%d", round), 1)
	var id string
	err = wait(ctx, func() (bool, error) {
		created, err := other.api.ServiceCreate(ctx, spec, swarm.ServiceCreateOptions{})
		id = created.ID
		if errdefs.IsConflict(err) || errdefs.IsAlreadyExists(err) { // a try that was given up has gone through
			found, _, err := other.api.ServiceInspectWithRaw(ctx, spec.Name, swarm.ServiceInspectOptions{})
			id = found.ID
			return err == nil, nil
		}
		return err == nil, nil
	})
	if err != nil {
		return l, fmt.Errorf("create a service: %w", err)
	}
	l.write = time.Since(begin)
	written := time.Now()
	err = wait(ctx, func() (bool, error) { tasks, err := other.running(ctx, id); return err == nil && len(tasks) == 1, nil })
	if err != nil {
		return l, fmt.Errorf("wait for its task: %w", err)
	}
	l.task = time.Since(written)
	stop()
	l.read = <-read
	if err := m.back(ctx, leader); err != nil {
		return l, err
	}
	return l, m.settled(ctx, hosts, managers)
}

func longestRead(ctx context.Context, n *cluster) (longest time.Duration) {
	for ctx.Err() == nil {
		begin := time.Now()
		_, err := n.api.NodeList(context.WithoutCancel(ctx), swarm.NodeListOptions{})
		if took := time.Since(begin); err == nil || took > longest {
			longest = max(longest, took)
		}
	}
	return longest
}

// loseWorker kills a worker's machine with its part of the tasks.
func (m *machines) loseWorker(ctx context.Context) (nodeDown, replaced time.Duration, err error) {
	spec := service("fifty", tasks)
	id, _, err := m.nodes[0].start(ctx, spec)
	if err != nil {
		return 0, 0, err
	}
	lost := m.nodes[hosts-1]
	begin := time.Now()
	if err := lost.host.Kill(); err != nil {
		return 0, 0, err
	}
	var node string
	err = wait(ctx, func() (bool, error) {
		list, err := m.nodes[0].api.NodeList(ctx, swarm.NodeListOptions{})
		for _, n := range list {
			if n.Description.Hostname == lost.host.Name && n.Status.State == swarm.NodeStateDown {
				node = n.ID
			}
		}
		return node != "", err
	})
	if err != nil {
		return 0, 0, err
	}
	nodeDown = time.Since(begin)
	err = wait(ctx, func() (bool, error) {
		running, err := m.nodes[0].running(ctx, id)
		elsewhere := 0
		for _, t := range running {
			if t.NodeID != node {
				elsewhere++
			}
		}
		return elsewhere == tasks, err
	})
	if err != nil {
		return 0, 0, err
	}
	replaced = time.Since(begin)
	if err := m.back(ctx, lost); err != nil {
		return 0, 0, err
	}
	return nodeDown, replaced, m.settled(ctx, hosts, managers)
}

// steady watches the daemons with 100 tasks that nobody touches.
func (m *machines) steady(ctx context.Context, b *bench) error {
	if _, _, err := m.nodes[0].start(ctx, service("more", 100-tasks)); err != nil {
		return err
	}
	before := make([]time.Duration, len(m.nodes))
	for i, n := range m.nodes {
		var err error
		if _, before[i], err = n.used(); err != nil {
			return err
		}
	}
	select {
	case <-time.After(watched):
	case <-ctx.Done():
		return ctx.Err()
	}
	var memory, load [2]float64 // of managers, of workers
	for i, n := range m.nodes {
		rss, cpu, err := n.used()
		if err != nil {
			return err
		}
		kind := 0
		if i >= managers {
			kind = 1
		}
		memory[kind] = max(memory[kind], rss)
		load[kind] = max(load[kind], 100*(cpu-before[i]).Seconds()/watched.Seconds())
	}
	b.report(figure{name: "3 managers, 5 nodes, 100 tasks: RSS of a manager", value: memory[0], target: 120, unit: "MB"})
	b.report(figure{name: "3 managers, 5 nodes, 100 tasks: RSS of a worker", value: memory[1], target: 60, unit: "MB"})
	b.report(figure{name: "3 managers, 5 nodes, 100 tasks: a manager's core", value: load[0], target: 2, unit: "%"})
	b.report(figure{name: "3 managers, 5 nodes, 100 tasks: a worker's core", value: load[1], target: 2, unit: "%"})
	return nil
}

// stopLeader stops the leader's daemon as an upgrade does.
func (m *machines) stopLeader(ctx context.Context, b *bench) error {
	var gaps []time.Duration
	for round := range b.rounds {
		leader, other, err := m.leader(ctx)
		if err != nil {
			return err
		}
		writing, stop := context.WithCancel(ctx)
		w := other.keepWriting(writing, fmt.Sprintf("stop-%d", round))
		if err := leader.signal(syscall.SIGTERM); err != nil {
			stop()
			return err
		}
		_ = leader.daemon.Wait()
		time.Sleep(3 * time.Second) // an election that was needed would be over
		stop()
		<-w.done
		gaps = append(gaps, w.longest)
		if err := leader.daemonize(ctx, m.program); err != nil {
			return err
		}
		if err := m.settled(ctx, hosts, managers); err != nil {
			return err
		}
	}
	b.report(figure{name: fmt.Sprintf("leader stopped, %d times: longest write gap, median", b.rounds), value: median(gaps), target: 0.5, unit: "s"})
	return nil
}

// alone is a lone manager: killed, grown to five managers under writes, and shrunk again.
func alone(ctx context.Context, b *bench) (err error) {
	m, err := startMachines(ctx, b.orch, hosts, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.down()) }()
	n := m.nodes[0]
	var restarts []time.Duration
	for round := range b.rounds {
		if err := n.signal(syscall.SIGKILL); err != nil {
			return err
		}
		_ = n.daemon.Wait()
		begin := time.Now()
		if err := n.daemonize(ctx, m.program); err != nil {
			return err
		}
		err := wait(ctx, func() (bool, error) {
			_, err := n.api.ConfigCreate(ctx, swarm.ConfigSpec{Annotations: swarm.Annotations{Name: fmt.Sprintf("restart-%d", round)}, Data: []byte("x")})
			return err == nil, nil
		})
		if err != nil {
			return err
		}
		restarts = append(restarts, time.Since(begin))
	}
	b.report(figure{name: fmt.Sprintf("lone manager killed, %d times: writes again, median", b.rounds), value: median(restarts), target: 1, unit: "s"})
	if err := m.settled(ctx, hosts, 1); err != nil {
		return err
	}
	return m.growAndShrink(ctx, b)
}

func (m *machines) growAndShrink(ctx context.Context, b *bench) error {
	writing, stop := context.WithCancel(ctx)
	defer stop()
	w := m.nodes[0].keepWriting(writing, "grow")
	for _, size := range []int{3, 5, 3, 1} {
		for i, n := range m.nodes[1:] {
			if err := m.setManager(ctx, n.host.Name, i+1 < size); err != nil {
				return err
			}
		}
		if err := m.counted(ctx, size); err != nil {
			return err
		}
	}
	stop()
	<-w.done
	if w.err != nil && !errors.Is(w.err, context.Canceled) {
		return fmt.Errorf("a write failed: %w", w.err)
	}
	b.report(figure{name: fmt.Sprintf("1→3→5→3→1 managers under %d writes: longest gap", w.writes), value: w.longest.Seconds(), target: 1, unit: "s"})
	return nil
}

func (m *machines) setManager(ctx context.Context, host string, manager bool) error {
	role := swarm.NodeRoleWorker
	if manager {
		role = swarm.NodeRoleManager
	}
	return wait(ctx, func() (bool, error) {
		list, err := m.nodes[0].api.NodeList(ctx, swarm.NodeListOptions{})
		if err != nil {
			return false, err
		}
		for _, n := range list {
			if n.Description.Hostname != host || n.Spec.Role == role {
				continue
			}
			n.Spec.Role = role
			// The node may have changed meanwhile: again.
			return m.nodes[0].api.NodeUpdate(ctx, n.ID, n.Version, n.Spec) == nil, nil
		}
		return true, nil
	})
}

// counted waits until that many managers are there, and no more.
func (m *machines) counted(ctx context.Context, want int) error {
	return wait(ctx, func() (bool, error) {
		list, err := m.nodes[0].api.NodeList(ctx, swarm.NodeListOptions{})
		count := 0
		for _, n := range list {
			if n.ManagerStatus != nil && n.ManagerStatus.Reachability == swarm.ReachabilityReachable {
				count++
			}
		}
		return count == want, err
	})
}
