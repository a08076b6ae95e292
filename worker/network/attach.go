package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"golang.org/x/sync/errgroup"

	"orch/worker/network/vip"
)

// task is a container whose namespace leads service addresses to their tasks.
type task struct {
	container string
	pid       int
	networks  []string
	addrs     []netip.Addr
	space     *vip.Space // nil on a node that cannot
}

func (t *task) close() {
	if t.space != nil {
		t.space.Close()
	}
}

// Attach brings a container that has just started into its networks: from when it returns, service addresses work there, and
// until then names do not resolve to them.
func (n *Network) Attach(_ context.Context, taskID, containerID string, pid int, networks []string) error {
	t := &task{container: containerID, pid: pid, networks: networks}
	if n.can.Services() {
		space, err := vip.Open(pid)
		if err != nil {
			return err
		}
		t.space = space
		if t.addrs, err = space.Addrs(); err != nil {
			space.Close()
			return err
		}
	}
	// Most of the work without the lock, for others start at the same time; what has changed meanwhile with it.
	n.mu.Lock()
	tables := n.tables
	n.mu.Unlock()
	if err := program(taskID, t, tables); err != nil {
		t.close()
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := program(taskID, t, n.tables); err != nil {
		t.close()
		return err
	}
	if old := n.tasks[taskID]; old != nil {
		n.names.Forget(old.addrs)
		old.close()
	}
	n.tasks[taskID] = t
	n.names.Know(t.addrs, networks)
	return nil
}

// programAll does all tasks' namespaces, several at a time: the kernel keeps their rules apart.
func (n *Network) programAll() error {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	errs := make(chan error, len(n.tasks))
	for id, t := range n.tasks {
		group.Go(func() error {
			errs <- program(id, t, n.tables)
			return nil
		})
	}
	_ = group.Wait() // nobody gives one: all of them are to be seen
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// program makes a task's namespace agree with the tables of its networks.
func program(id string, t *task, tables map[string]vip.Table) error {
	if t.space == nil {
		return nil
	}
	var own []vip.Table
	for _, w := range t.networks {
		if table, ok := tables[w]; ok {
			own = append(own, table)
		}
	}
	if err := t.space.Apply(own...); err != nil {
		return fmt.Errorf("task %s: %w", id, err)
	}
	return nil
}

// Detach forgets a task whose container has ended.
func (n *Network) Detach(taskID string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.tasks[taskID]
	if t == nil {
		return
	}
	n.names.Forget(t.addrs)
	t.close()
	delete(n.tasks, taskID)
}
