package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"orch/compose"
	"orch/internal/usage"
	"orch/tui/feed"
)

// topTimeout bounds the wait for the second measurement of a node, without which there is no rate.
const topTimeout = 4 * usage.Every

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
func (a *app) measure(ctx context.Context, cli *client.Client, n names, tasks []swarm.Task) (map[string]usage.Rates, error) {
	want, err := wanted(ctx, cli, tasks)
	if err != nil {
		return nil, err
	}
	pool, err := feed.NewPool([]feed.Endpoint{{API: cli, Host: a.host()}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, topTimeout)
	samples := make(chan feed.Usage)
	meter := feed.NewMeter(ctx, pool, func(u feed.Usage) {
		select {
		case samples <- u:
		case <-ctx.Done():
		}
	})
	defer meter.Wait()
	defer cancel()
	meter.Want(want)
	rates, missing := collect(ctx, want, samples)
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

// Why a node has no measurements.
var (
	errLate      = errors.New("it did not answer in time")
	errElsewhere = errors.New("it is another machine than the one that answers")
)

// collect makes rates of the first two samples of each node, until all are there or the context ends.
func collect(ctx context.Context, w feed.Wanted, samples <-chan feed.Usage) (rates map[string]usage.Rates, missing map[string]error) {
	rates, missing = map[string]usage.Rates{}, map[string]error{}
	first, waiting := map[string]usage.Sample{}, map[string]bool{}
	for _, node := range w.Nodes {
		if missing[node] = errElsewhere; w.Orch || node == w.Self {
			missing[node], waiting[node] = errLate, true
		}
	}
	for len(waiting) > 0 {
		select {
		case u := <-samples:
			before, again := first[u.Node]
			switch {
			case u.Err != nil:
				missing[u.Node] = u.Err
				delete(waiting, u.Node)
			case !again:
				first[u.Node] = u.Sample
			default:
				for task, c := range u.Tasks {
					rates[task] = usage.Between(before.Tasks[task], c, u.At.Sub(before.At))
				}
				delete(missing, u.Node)
				delete(waiting, u.Node)
			}
		case <-ctx.Done():
			return rates, missing
		}
	}
	return rates, missing
}

func topRows(n names, tasks []swarm.Task, rates map[string]usage.Rates) []topRow {
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
