package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"

	"orch/compose"
	"orch/compose/progress"
)

func (a *app) rollbackCmd() *cobra.Command {
	var d deployment
	cmd := &cobra.Command{Use: "rollback STACK [REVISION] | SERVICE", Short: "Return a stack to an earlier revision, or a service to what it was before its last change",
		Long: "Return a stack to an earlier revision (`orch history` lists them; without a number, to the newest before the current one that went\n" +
			"well), or a service to its specification before its last change. Going back is a deploy like any other: in order, watched, a revision\n" +
			"of its own. A service's name wins over a stack's.",
		Args: cobra.RangeArgs(1, 2), ValidArgsFunction: a.completeRollback}
	cmd.Flags().BoolVar(&d.dryRun, "dry-run", false, "stacks: only show what would change")
	d.outcomeFlags(cmd)
	cmd.RunE = a.stream(func(ctx context.Context, cli *client.Client, args []string) error {
		asking, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		n, err := readNames(asking, cli)
		if err != nil {
			return err
		}
		if s, err := n.find(args[0]); err == nil {
			if len(args) > 1 {
				return usagef("%s is a service, and revisions are of stacks: orch rollback STACK %s", args[0], args[1])
			}
			return a.rollbackService(ctx, cli, s, d)
		}
		if _, err := n.pick(args[0]); err != nil {
			return err
		}
		number := 0
		if len(args) > 1 {
			if number, err = revisionNumber(args[1]); err != nil {
				return err
			}
		}
		plan, to, err := compose.NewRollback(asking, cli, args[0], number)
		if err != nil {
			return err
		}
		a.warn(plan.Warnings)
		if d.dryRun {
			return a.showPlan(plan, d.json)
		}
		if plan.Empty() {
			fmt.Fprintf(a.out, "stack %s: is as revision %d made it\n", plan.Stack, to.Number)
			return nil
		}
		if d.message == "" {
			d.message = fmt.Sprintf("rollback to revision %d", to.Number)
		}
		return a.apply(ctx, cli, plan, d)
	})
	return cmd
}

func (a *app) rollbackService(ctx context.Context, cli *client.Client, s swarm.Service, d deployment) error {
	asking, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := cli.ServiceUpdate(asking, s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{Rollback: "previous"}); err != nil {
		return err
	}
	if d.detach {
		fmt.Fprintf(a.out, "%s: rolling back\n", s.Spec.Name)
		return nil
	}
	return a.follow(ctx, cli, s.ID, true, d.timeout)
}

// follow waits for a service that has just been changed.
func (a *app) follow(ctx context.Context, cli *client.Client, id string, back bool, timeout time.Duration) error {
	asking, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, _, err := cli.ServiceInspectWithRaw(asking, id, swarm.ServiceInspectOptions{})
	if err != nil {
		return err
	}
	show := progress.New(a.err)
	began := time.Now()
	err = compose.Follow(ctx, cli, s, back, compose.Options{Timeout: timeout, Progress: show.Event})
	show.Close()
	switch {
	case errors.As(err, new(*compose.NotHealthyError)):
		return codeError{exitNotHealthy, err}
	case err != nil && ctx.Err() != nil:
		return codeError{exitInterrupted, err}
	case err != nil:
		return err
	}
	fmt.Fprintf(a.out, "%s: as wanted after %s\n", s.Spec.Name, time.Since(began).Round(100*time.Millisecond))
	return nil
}
