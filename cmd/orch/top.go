package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"orch/compose"
	"orch/tui/feed"
)

// topRow is a line of `orch top`.
type topRow struct {
	ID     string
	Name   string
	Node   string
	CPU    float64 // processors
	Memory float64 // bytes
	Limit  float64
	In     float64 // bytes a second
	Out    float64
}

func (r topRow) key() string { return r.ID }

func (r topRow) cells() []cell {
	memory := units.BytesSize(r.Memory)
	if r.Limit > 0 {
		memory += " of " + units.BytesSize(r.Limit)
	}
	rate := func(v float64) cell { return text(units.BytesSize(v) + "/s") }
	return []cell{text(r.Name), id(r.ID), text(r.Node), text(fmt.Sprintf("%.1f%%", 100*r.CPU)), text(memory), rate(r.In), rate(r.Out)}
}

func (a *app) topCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "top [STACK|SERVICE]", Short: "Show what tasks use of processors, memory and networks, on all nodes", Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeBoth,
		Long: "Show what running tasks use now, on all nodes, measured over two seconds; what uses most of a processor comes first. 100% is one processor.\n" +
			"On Docker's swarm mode only tasks of the machine that answers can be measured. `orch ui` shows the same live."}
	f := a.formatFlags(cmd)
	cmd.RunE = a.call(func(ctx context.Context, cli *client.Client, args []string) error {
		n, err := readNames(ctx, cli)
		if err != nil {
			return err
		}
		chosen, err := n.pick(strings.Join(args, ""))
		if err != nil {
			return err
		}
		tasks, err := tasksOf(ctx, cli, chosen)
		if err != nil {
			return err
		}
		tasks = slices.DeleteFunc(tasks, func(t swarm.Task) bool {
			return t.Status.State != swarm.TaskStateRunning || t.Status.ContainerStatus == nil
		})
		rates, err := a.measure(ctx, cli, n, tasks)
		if err != nil {
			return err
		}
		return show(a, f, []string{"TASK", "ID", "NODE", "CPU", "MEMORY", "IN", "OUT"}, topRows(n, tasks, rates))
	})
	return cmd
}

// measure takes two measurements of each node that has one of the tasks, and says of which nodes there are none.
func (a *app) measure(ctx context.Context, cli *client.Client, n names, tasks []swarm.Task) (map[string]feed.Rates, error) {
	want, err := wanted(ctx, cli, tasks)
	if err != nil {
		return nil, err
	}
	pool, err := feed.NewPool([]feed.Endpoint{{API: cli, Host: a.host()}})
	if err != nil {
		return nil, err
	}
	rates, missing := feed.Measure(ctx, pool, want)
	for _, node := range slices.Sorted(maps.Keys(missing)) {
		fmt.Fprintf(a.err, "%s node %s could not be measured: %v\n", yellow.paint("warning:", a.colours(a.err)), n.node(node), missing[node])
	}
	return rates, nil
}

// wanted are the nodes of tasks, and what is needed to measure them.
func wanted(ctx context.Context, cli *client.Client, tasks []swarm.Task) (feed.Wanted, error) {
	info, err := cli.Info(ctx)
	if err != nil {
		return feed.Wanted{}, err
	}
	version, err := cli.ServerVersion(ctx)
	if err != nil {
		return feed.Wanted{}, err
	}
	w := feed.Wanted{Orch: compose.IsOrch(version), Self: info.Swarm.NodeID, Tasks: true, Local: map[string]string{}}
	for _, t := range tasks {
		if !slices.Contains(w.Nodes, t.NodeID) {
			w.Nodes = append(w.Nodes, t.NodeID)
		}
		if t.NodeID == w.Self {
			w.Local[t.ID] = t.Status.ContainerStatus.ContainerID
		}
	}
	return w, nil
}

func topRows(n names, tasks []swarm.Task, rates map[string]feed.Rates) []topRow {
	var rows []topRow
	for _, t := range tasks {
		r, ok := rates[t.ID]
		if !ok {
			continue
		}
		rows = append(rows, topRow{ID: t.ID, Name: n.task(t), Node: n.node(t.NodeID), CPU: r.CPU, Memory: r.Memory, Limit: r.Limit, In: r.In, Out: r.Out})
	}
	slices.SortFunc(rows, func(a, b topRow) int {
		return cmp.Or(cmp.Compare(b.CPU, a.CPU), strings.Compare(a.Name, b.Name))
	})
	return rows
}
