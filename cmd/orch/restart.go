package main

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"

	"orch/compose"
)

func (a *app) restartCmd() *cobra.Command {
	var wait waiting
	cmd := &cobra.Command{Use: "restart SERVICE|STACK...", Short: "Replace all tasks of services, by their update rules", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeBoth}
	wait.flags(cmd)
	cmd.RunE = a.stream(func(ctx context.Context, cli *client.Client, args []string) error {
		asking, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		n, err := readNames(asking, cli)
		if err != nil {
			return err
		}
		var changed []string
		for _, ref := range args {
			chosen, err := n.pick(ref)
			if err != nil {
				return err
			}
			for _, s := range chosen.services {
				name, err := a.change(asking, cli, s.ID, func(spec *swarm.ServiceSpec) error { spec.TaskTemplate.ForceUpdate++; return nil })
				if err != nil {
					return err
				}
				fmt.Fprintf(a.out, "%s: restarting\n", name)
				changed = append(changed, s.ID)
			}
		}
		return a.await(ctx, cli, changed, wait)
	})
	return cmd
}

// waiting is what commands take that change services and may wait for them.
type waiting struct {
	on      bool
	timeout time.Duration
}

func (w *waiting) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&w.on, "wait", "w", false, "wait until every task is as wanted, and fail if it cannot be")
	cmd.Flags().DurationVar(&w.timeout, "timeout", compose.DefaultTimeout, "with --wait: how long, for each service")
}

func (a *app) await(ctx context.Context, cli *client.Client, services []string, w waiting) error {
	if !w.on {
		return nil
	}
	for _, id := range services {
		if err := a.follow(ctx, cli, id, false, w.timeout); err != nil {
			return err
		}
	}
	return nil
}
