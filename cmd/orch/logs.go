package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"orch/tui/logstream"
)

// sortWindow is how many lines are held to bring those of several tasks into one order; beyond that order is by arrival.
const sortWindow = 100_000

func (a *app) logsCmd() *cobra.Command {
	o := container.LogsOptions{ShowStdout: true, ShowStderr: true, Details: true}
	var timestamps, noPrefix bool
	cmd := &cobra.Command{Use: "logs SERVICE[.SLOT]|STACK", Short: "Show logs of all tasks of a service or stack, interleaved", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeBoth}
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "keep showing new lines")
	cmd.Flags().StringVarP(&o.Tail, "tail", "n", "all", "only the last `N` lines of each task")
	cmd.Flags().StringVar(&o.Since, "since", "", "only lines since a `TIME` (2026-01-02T15:04:05Z) or for a duration (10m)")
	cmd.Flags().BoolVarP(&timestamps, "timestamps", "t", false, "show the time of each line")
	cmd.Flags().BoolVar(&noPrefix, "no-prefix", false, "do not show the task's name before each line")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if _, err := strconv.ParseUint(o.Tail, 10, 32); err != nil && o.Tail != "all" {
			return usagef("--tail %q: want a number of lines, or all", o.Tail)
		}
		return nil
	}
	cmd.RunE = a.stream(func(ctx context.Context, cli *client.Client, args []string) error {
		n, err := readNames(ctx, cli)
		if err != nil {
			return err
		}
		chosen, slot, err := pickLogs(n, args[0])
		if err != nil {
			return err
		}
		l := &logPrinter{out: a.out, err: a.err, colour: a.colours(a.out), timestamps: timestamps, prefix: !noPrefix}
		// Lines are put in order by their times, so these are always asked for.
		o.Timestamps = true
		err = followLogs(ctx, cli, n, chosen, slot, o, l)
		if o.Follow && errors.Is(err, context.Canceled) {
			return nil // Ctrl-C is how following ends
		}
		return err
	})
	return cmd
}

// pickLogs is pick, and SERVICE.SLOT beside it.
func pickLogs(n names, ref string) (selected, string, error) {
	if s, slot, err := n.findTask(ref); err == nil {
		return selected{services: []swarm.Service{s}}, slot, nil
	}
	chosen, err := n.pick(ref)
	return chosen, "", err
}

func followLogs(ctx context.Context, cli *client.Client, n names, chosen selected, slot string, o container.LogsOptions, l *logPrinter) error {
	tasks, err := tasksOf(ctx, cli, chosen)
	if err != nil {
		return err
	}
	known := newTaskNames(n, tasks, func(id string) (swarm.Task, error) {
		t, _, err := cli.TaskInspectWithRaw(ctx, id)
		return t, err
	})
	l.width = known.width()
	lines := make(chan logstream.Line, 256)
	group, gctx := errgroup.WithContext(ctx)
	for _, s := range chosen.services {
		group.Go(func() error { return readService(gctx, cli, s, o, lines) })
	}
	done := make(chan error, 1)
	go func() { done <- group.Wait(); close(lines) }()
	l.run(lines, o.Follow, func(line *logstream.Line) bool {
		t, ok := known.find(line.Task)
		line.Name = known.name(line.Task)
		return slot == "" || ok && n.inSlot(t, slot)
	})
	return <-done
}

func readService(ctx context.Context, cli *client.Client, s swarm.Service, o container.LogsOptions, lines chan<- logstream.Line) error {
	r, err := cli.ServiceLogs(ctx, s.ID, o)
	if err != nil {
		return fmt.Errorf("logs of %s: %w", s.Spec.Name, err)
	}
	defer r.Close()
	tty := s.Spec.TaskTemplate.ContainerSpec != nil && s.Spec.TaskTemplate.ContainerSpec.TTY
	if err := logstream.Read(ctx, r, tty, lines); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("logs of %s: %w", s.Spec.Name, err)
	}
	return ctx.Err()
}

// taskNames knows the tasks of a stream of logs by ID, and asks for those that were created since.
type taskNames struct {
	names  names
	byID   map[string]swarm.Task
	lookUp func(id string) (swarm.Task, error)
}

func newTaskNames(n names, tasks []swarm.Task, lookUp func(string) (swarm.Task, error)) *taskNames {
	k := &taskNames{names: n, byID: map[string]swarm.Task{}, lookUp: lookUp}
	for _, t := range tasks {
		k.byID[t.ID] = t
	}
	return k
}

// find is a task; one that cannot be found is remembered as such, so it is asked for once.
func (k *taskNames) find(id string) (swarm.Task, bool) {
	t, ok := k.byID[id]
	if !ok {
		if found, err := k.lookUp(id); err == nil {
			t = found
		}
		k.byID[id] = t
	}
	return t, t.ID != ""
}

func (k *taskNames) name(id string) string {
	if t, ok := k.find(id); ok {
		return k.names.task(t)
	}
	return shorten(id, idLength)
}

func (k *taskNames) width() int {
	w := 0
	for id := range k.byID {
		w = max(w, len(k.name(id)))
	}
	return w
}

// logPrinter writes lines with their task's name before them.
type logPrinter struct {
	out, err   io.Writer
	colour     bool
	timestamps bool
	prefix     bool
	width      int
}

// run prints what comes until lines ends: at once when following, else in order of time.
func (l *logPrinter) run(lines <-chan logstream.Line, follow bool, accept func(*logstream.Line) bool) {
	var held []logstream.Line
	flush := func() {
		slices.SortStableFunc(held, func(a, b logstream.Line) int { return a.Time.Compare(b.Time) })
		for _, line := range held {
			l.print(line)
		}
		held = held[:0]
	}
	for line := range lines {
		if !accept(&line) {
			continue
		}
		if follow {
			l.print(line)
			continue
		}
		if held = append(held, line); len(held) >= sortWindow {
			flush()
		}
	}
	flush()
}

func (l *logPrinter) print(line logstream.Line) {
	out := l.out
	if line.Stderr {
		out = l.err
	}
	if l.prefix {
		l.width = max(l.width, len(line.Name))
		fmt.Fprint(out, colourOf(line.Name).paint(fmt.Sprintf("%-*s |", l.width, line.Name), l.colour), " ")
	}
	if l.timestamps {
		fmt.Fprint(out, line.Time.Format(time.RFC3339Nano), " ")
	}
	fmt.Fprintln(out, line.Text)
}
