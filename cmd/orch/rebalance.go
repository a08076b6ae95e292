package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

const (
	// movePoll is how often is looked whether moves are done.
	movePoll = 500 * time.Millisecond
	// rebalanceLabel on the cluster has the managers rebalance by themselves.
	rebalanceLabel = "orch.rebalance"
)

// taskMove is a task that moves, as the managers tell of it.
type taskMove struct {
	TaskID, ServiceName, FromHost, ToHost string
}

func (a *app) rebalanceCmd() *cobra.Command {
	var dry bool
	var auto string
	cmd := &cobra.Command{Use: "rebalance", Short: "Move tasks to nodes that have fewer, gently", Args: cobra.NoArgs,
		Long: "Move tasks from nodes that have many of a service to nodes that have few, as after a node has joined or come back. A task moves by\n" +
			"its service's update rules: as many at a time, in that order. Tasks stay where they are whose service is being updated or not all running, has a placement\n" +
			"preference, keeps volumes on its nodes, has only one task and stops it first, or is labelled orch.rebalance=off. Ctrl-C ends it after the moves under way."}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only show what would move first")
	cmd.Flags().StringVar(&auto, "auto", "", "have the managers do so by themselves from now on: `on|off`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch auto {
		case "":
			return a.stream(func(ctx context.Context, cli *client.Client, _ []string) error { return a.rebalance(ctx, cli, dry) })(cmd, args)
		case "on", "off":
			return a.call(func(ctx context.Context, cli *client.Client, _ []string) error {
				return changeSwarm(ctx, cli, swarm.UpdateFlags{}, func(s *swarm.Spec) error {
					if s.Labels == nil {
						s.Labels = map[string]string{}
					}
					s.Labels[rebalanceLabel] = map[string]string{"on": "auto", "off": "off"}[auto]
					return nil
				})
			})(cmd, args)
		}
		return usagef("--auto %q: want on or off", auto)
	}
	return cmd
}

func (a *app) rebalance(ctx context.Context, cli *client.Client, dry bool) error {
	path, total := "/orch/rebalance", 0
	if dry {
		path += "?dry=1"
	}
	for {
		var moves []taskMove
		answer, err := orchCall(ctx, cli, path, "", nil)
		if err == nil {
			err = json.Unmarshal(answer, &moves)
		}
		if err != nil {
			return err
		}
		verb := "moves"
		if dry {
			verb = "would move"
		}
		for _, m := range moves {
			fmt.Fprintf(a.out, "%s (%s) %s from %s to %s\n", m.ServiceName, shorten(m.TaskID, idLength), verb, m.FromHost, m.ToHost)
		}
		total += len(moves)
		if dry || len(moves) == 0 {
			break
		}
		if err := awaitMoves(ctx, cli, moves); err != nil {
			return err
		}
	}
	if total == 0 {
		fmt.Fprintln(a.out, "Nothing to move.")
	}
	return nil
}

// awaitMoves waits until the tasks have stopped and every service that they are of is whole again.
func awaitMoves(ctx context.Context, cli *client.Client, moves []taskMove) error {
	tick := time.NewTicker(movePoll)
	defer tick.Stop()
	for {
		busy := false
		services, err := cli.ServiceList(ctx, swarm.ServiceListOptions{Status: true})
		if err != nil {
			return err
		}
		for _, m := range moves {
			t, _, err := cli.TaskInspectWithRaw(ctx, m.TaskID)
			busy = busy || err == nil && t.Status.State == swarm.TaskStateRunning
			for _, s := range services {
				if s.Spec.Name == m.ServiceName && s.ServiceStatus != nil {
					busy = busy || s.ServiceStatus.RunningTasks < s.ServiceStatus.DesiredTasks
				}
			}
		}
		if !busy {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
