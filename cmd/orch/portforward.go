package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"orch/tui/forward"
)

func (a *app) portForwardCmd() *cobra.Command {
	var address string
	cmd := &cobra.Command{Use: "port-forward SERVICE[.SLOT] [LOCAL:]PORT...", Short: "Reach ports of a task, on any node, at localhost", Args: cobra.MinimumNArgs(2), ValidArgsFunction: a.completeServices,
		Long: "Reach ports of a task, on any node, at localhost. What listens on localhost within the container is reached, too. Each connection goes\n" +
			"to the first running task of SERVICE, so that forwarding goes on when a task is replaced. Ctrl-C ends it. Local port 0 is any that is free."}
	cmd.Flags().StringVar(&address, "address", "127.0.0.1", "listen on `ADDRESS`")
	cmd.RunE = a.stream(func(ctx context.Context, cli *client.Client, args []string) error {
		if _, err := runningTasks(ctx, cli, args[0]); err != nil {
			return err
		}
		var specs []forward.Spec
		for _, arg := range args[1:] {
			s, err := forward.ParseSpec(arg)
			if err != nil {
				return usagef("%w", err)
			}
			specs = append(specs, s)
		}
		group, ctx := errgroup.WithContext(ctx)
		for _, s := range specs {
			l, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(int(s.Local))))
			if err != nil {
				return fmt.Errorf("listen for port %d of %s: %w", s.Port, args[0], err)
			}
			defer l.Close()
			fmt.Fprintf(a.err, "%s is port %d of %s\n", l.Addr(), s.Port, args[0])
			group.Go(func() error {
				return forward.Serve(ctx, l, func(ctx context.Context) (net.Conn, error) {
					tasks, err := runningTasks(ctx, cli, args[0])
					if err != nil {
						return nil, err
					}
					return forward.Dial(ctx, cli, tasks[0], s.Port)
				}, func(err error) { fmt.Fprintln(a.err, "orch:", err) })
			})
		}
		if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
	return cmd
}

// runningTasks are the running tasks that ref can mean, SERVICE, SERVICE.SLOT or a task's ID, in the order of their slots.
func runningTasks(ctx context.Context, cli *client.Client, ref string) ([]swarm.Task, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	n, err := readNames(ctx, cli)
	if err != nil {
		return nil, err
	}
	s, slot, err := n.findTask(ref)
	if err != nil {
		if t, _, err := cli.TaskInspectWithRaw(ctx, ref); err == nil && running(t) {
			return []swarm.Task{t}, nil
		}
		return nil, err
	}
	tasks, err := tasksOf(ctx, cli, selected{services: []swarm.Service{s}})
	if err != nil {
		return nil, err
	}
	tasks = slices.DeleteFunc(tasks, func(t swarm.Task) bool { return !running(t) || !n.inSlot(t, slot) })
	if len(tasks) == 0 {
		return nil, fmt.Errorf("no task of %s is running: `orch ps %s` says why", ref, s.Spec.Name)
	}
	slices.SortFunc(tasks, func(a, b swarm.Task) int { return a.Slot - b.Slot })
	return tasks, nil
}

func running(t swarm.Task) bool {
	return t.Status.State == swarm.TaskStateRunning && t.Status.ContainerStatus != nil
}
