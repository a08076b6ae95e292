package main

import (
	"context"
	"fmt"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

func (a *app) restartCmd() *cobra.Command {
	return &cobra.Command{Use: "restart SERVICE|STACK...", Short: "Replace all tasks of services, by their update rules", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeBoth,
		RunE: a.call(func(ctx context.Context, cli *client.Client, args []string) error {
			n, err := readNames(ctx, cli)
			if err != nil {
				return err
			}
			for _, ref := range args {
				chosen, err := n.pick(ref)
				if err != nil {
					return err
				}
				for _, s := range chosen.services {
					name, err := a.change(ctx, cli, s.ID, func(spec *swarm.ServiceSpec) error { spec.TaskTemplate.ForceUpdate++; return nil })
					if err != nil {
						return err
					}
					fmt.Fprintf(a.out, "%s: restarting\n", name)
				}
			}
			return nil
		})}
}
