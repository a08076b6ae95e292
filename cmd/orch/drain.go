package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

func (a *app) drainCmd() *cobra.Command {
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{Use: "drain NODE...", Short: "Move all tasks off nodes and give them no new ones", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeNodes,
		Long: "Move all tasks off nodes and give them no new ones. Where a service's update order says start-first, a task stops only once its successor runs."}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until nothing runs there any more, and show progress")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "with --wait: how long, before exit code 3")
	cmd.RunE = a.stream(func(ctx context.Context, cli *client.Client, args []string) error {
		if err := a.changeNodes(ctx, cli, args, func(s *swarm.NodeSpec) { s.Availability = swarm.NodeAvailabilityDrain }); err != nil || !wait {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		for _, ref := range args {
			n, err := inspectNode(ctx, cli, ref)
			if err != nil {
				return err
			}
			err = a.awaitDrained(ctx, cli, n)
			if errors.Is(err, context.DeadlineExceeded) {
				return codeError{exitNotHealthy, fmt.Errorf("node %s is not drained after %s: `orch ps` shows what holds it up", n.Description.Hostname, timeout)}
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return cmd
}

// awaitDrained says what still runs on a node whenever that changes.
func (a *app) awaitDrained(ctx context.Context, cli *client.Client, n swarm.Node) error {
	tick := time.NewTicker(movePoll)
	defer tick.Stop()
	said := ""
	for {
		tasks, err := cli.TaskList(ctx, swarm.TaskListOptions{})
		if err != nil {
			return err
		}
		line := drainLine(n, tasks)
		if line == "" {
			fmt.Fprintf(a.err, "%s: nothing runs here any more\n", n.Description.Hostname)
			return nil
		}
		if line != said {
			fmt.Fprintln(a.err, line)
			said = line
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drainLine is what still holds a node up, "" if nothing does.
func drainLine(n swarm.Node, tasks []swarm.Task) string {
	here, starting, why := 0, 0, ""
	for _, t := range tasks {
		switch {
		case t.NodeID == n.ID && (t.Status.State == swarm.TaskStateRunning || t.Status.State == swarm.TaskStateStarting):
			here++
		case t.DesiredState == swarm.TaskStateRunning && t.Status.State == swarm.TaskStatePending && t.Status.Err != "":
			why = t.Status.Err
			starting++
		case t.DesiredState == swarm.TaskStateRunning && t.NodeID != n.ID && t.Status.State != swarm.TaskStateRunning && t.Status.State != swarm.TaskStateComplete:
			starting++
		}
	}
	if here == 0 {
		return ""
	}
	line := fmt.Sprintf("%s: %s here, %d starting elsewhere", n.Description.Hostname, plural(here, "task"), starting)
	if why != "" {
		line += ": " + why
	}
	return line
}
