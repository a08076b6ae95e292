package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

// taskRow is a line of `orch ps`.
type taskRow struct {
	ID      string
	Name    string
	Service string
	Slot    int `json:",omitempty"`
	Node    string
	Image   string
	State   string
	Desired string
	Since   time.Time // of State
	Created time.Time
	Error   string

	state swarm.TaskState
	now   time.Time
}

func (r taskRow) key() string { return r.ID }

func (r taskRow) cells() []cell {
	image, problem := text(r.Image), tinted(r.Error, red)
	image.limit, problem.limit = imageLength, errorLength
	return []cell{text(r.Name), id(r.ID), tinted(r.State, stateColour(r.state)), text(age(r.Since, r.now)), text(r.Node), image, problem}
}

func stateColour(s swarm.TaskState) colour {
	switch s {
	case swarm.TaskStateRunning:
		return green
	case swarm.TaskStateFailed, swarm.TaskStateRejected, swarm.TaskStateOrphaned:
		return red
	case swarm.TaskStateComplete, swarm.TaskStateShutdown, swarm.TaskStateRemove:
		return dim
	}
	return yellow
}

func (a *app) psCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "ps [STACK|SERVICE]", Short: "List tasks: what runs where, how long, and what went wrong",
		Long: "List tasks. Without --all only what there is now is shown: live tasks, and the last task of a slot where nothing lives.",
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeBoth}
	f := a.formatFlags(cmd)
	all := cmd.Flags().BoolP("all", "a", false, "show earlier tasks of each slot too")
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
		return show(a, f, []string{"TASK", "ID", "STATE", "SINCE", "NODE", "IMAGE", "ERROR"}, taskRows(n, tasks, *all, time.Now()))
	})
	return cmd
}

// taskRows orders tasks by name, the newest of a slot first, and leaves history out unless all is set.
func taskRows(n names, tasks []swarm.Task, all bool, now time.Time) []taskRow {
	slices.SortStableFunc(tasks, func(a, b swarm.Task) int {
		return cmp.Or(strings.Compare(n.service(a.ServiceID), n.service(b.ServiceID)), cmp.Compare(a.Slot, b.Slot),
			strings.Compare(n.task(a), n.task(b)), b.CreatedAt.Compare(a.CreatedAt))
	})
	var rows []taskRow
	for len(tasks) > 0 {
		name := n.task(tasks[0])
		end := slices.IndexFunc(tasks, func(t swarm.Task) bool { return n.task(t) != name })
		if end < 0 {
			end = len(tasks)
		}
		rows = append(rows, slotRows(n, tasks[:end], all, now)...)
		tasks = tasks[end:]
	}
	return rows
}

// slotRows are the lines of one slot. A task that does not run yet takes over the error of the one before it: that is what
// a user of a service that fails again and again looks for.
func slotRows(n names, slot []swarm.Task, all bool, now time.Time) []taskRow {
	var rows []taskRow
	for _, t := range slot {
		if all || !ended(t.Status.State) {
			rows = append(rows, newTaskRow(n, t, now))
		}
	}
	if len(rows) == 0 {
		rows = append(rows, newTaskRow(n, slot[0], now))
	}
	if first := &rows[0]; !all && first.Error == "" && !ended(first.state) && first.state != swarm.TaskStateRunning {
		for _, t := range slot {
			if t.ID != first.ID && t.Status.Err != "" {
				first.Error = "before: " + t.Status.Err
				break
			}
		}
	}
	return rows
}

func newTaskRow(n names, t swarm.Task, now time.Time) taskRow {
	r := taskRow{ID: t.ID, Name: n.task(t), Service: n.service(t.ServiceID), Slot: t.Slot, Node: n.node(t.NodeID), State: stateText(t), Desired: string(t.DesiredState),
		Since: t.Status.Timestamp, Created: t.CreatedAt, Error: strings.ReplaceAll(t.Status.Err, "\n", " "), state: t.Status.State, now: now}
	if c := t.Spec.ContainerSpec; c != nil {
		r.Image = shortImage(c.Image)
	}
	return r
}

// stateText is the state, and what it is waiting for where that is not in the word.
func stateText(t swarm.Task) string {
	c := t.Spec.ContainerSpec
	checked := c != nil && c.Healthcheck != nil && !(len(c.Healthcheck.Test) > 0 && c.Healthcheck.Test[0] == "NONE")
	switch state := t.Status.State; {
	case state == swarm.TaskStateStarting && checked && t.Status.ContainerStatus != nil && t.Status.ContainerStatus.PID > 0:
		return "starting (not healthy yet)"
	case state == swarm.TaskStateRunning && ended(t.DesiredState):
		return "stopping"
	case state == swarm.TaskStateRunning && checked:
		return "running (healthy)"
	case state == swarm.TaskStateReady && t.DesiredState == swarm.TaskStateReady:
		return "ready (waiting to start)"
	default:
		return string(state)
	}
}

// ended says whether a task in that state will never run again.
func ended(s swarm.TaskState) bool {
	switch s {
	case swarm.TaskStateComplete, swarm.TaskStateShutdown, swarm.TaskStateFailed, swarm.TaskStateRejected, swarm.TaskStateRemove, swarm.TaskStateOrphaned:
		return true
	}
	return false
}
