package network

import (
	"context"
	"fmt"
	"net/netip"

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
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.program(taskID, t); err != nil {
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

// program makes a task's namespace agree with the tables of its networks.
func (n *Network) program(id string, t *task) error {
	if t.space == nil {
		return nil
	}
	var tables []vip.Table
	for _, w := range t.networks {
		if table, ok := n.tables[w]; ok {
			tables = append(tables, table)
		}
	}
	if err := t.space.Apply(tables...); err != nil {
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
