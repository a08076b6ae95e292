package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

func (a *app) scaleCmd() *cobra.Command {
	var wait waiting
	cmd := &cobra.Command{Use: "scale SERVICE=REPLICAS...", Short: "Change how many tasks services have", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeScale}
	wait.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		want, err := parseScale(args)
		if err != nil {
			return err
		}
		return a.stream(func(ctx context.Context, cli *client.Client, _ []string) error {
			asking, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			if err := a.scale(asking, cli, want); err != nil {
				return err
			}
			var names []string
			for _, w := range want {
				names = append(names, w.service)
			}
			return a.await(ctx, cli, names, wait)
		})(cmd, args)
	}
	return cmd
}

type scale struct {
	service  string
	replicas uint64
}

func parseScale(args []string) ([]scale, error) {
	var out []scale
	for _, arg := range args {
		name, count, ok := strings.Cut(arg, "=")
		n, err := strconv.ParseUint(count, 10, 32)
		if !ok || name == "" || err != nil {
			return nil, usagef("%q: want SERVICE=REPLICAS, as in web=3", arg)
		}
		out = append(out, scale{name, n})
	}
	return out, nil
}

func (a *app) scale(ctx context.Context, cli *client.Client, want []scale) error {
	for _, w := range want {
		var from uint64
		name, err := a.change(ctx, cli, w.service, func(spec *swarm.ServiceSpec) error {
			replicas := &w.replicas
			switch {
			case spec.Mode.Replicated != nil:
				if r := spec.Mode.Replicated.Replicas; r != nil {
					from = *r
				}
				spec.Mode.Replicated.Replicas = replicas
			case spec.Mode.ReplicatedJob != nil:
				if r := spec.Mode.ReplicatedJob.TotalCompletions; r != nil {
					from = *r
				}
				spec.Mode.ReplicatedJob.TotalCompletions = replicas
			default:
				return fmt.Errorf("service %s is global: it has one task on each node, whatever their number", spec.Name)
			}
			return nil
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s: %d -> %d\n", name, from, w.replicas)
	}
	return nil
}
