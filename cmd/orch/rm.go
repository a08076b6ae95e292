package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"

	"orch/compose"
)

func (a *app) rmCmd() *cobra.Command {
	var o compose.RemoveOptions
	cmd := &cobra.Command{Use: "rm STACK|SERVICE...", Short: "Remove stacks, with their networks, secrets and configs, or single services", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeBoth,
		Long: "Remove stacks, with their networks, secrets and configs, or single services. Volumes stay. Waits until the containers are gone."}
	cmd.Flags().BoolVarP(&o.Detach, "detach", "d", false, "do not wait until the containers are gone")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", compose.DefaultTimeout, "how long to wait")
	cmd.RunE = a.stream(func(ctx context.Context, cli *client.Client, args []string) error {
		for _, ref := range args {
			if err := a.remove(ctx, cli, ref, o); err != nil {
				return err
			}
		}
		return nil
	})
	return cmd
}

// remove takes a stack away, or a service where no stack has that name.
func (a *app) remove(ctx context.Context, cli *client.Client, ref string, o compose.RemoveOptions) error {
	o.Progress = func(e compose.Event) { fmt.Fprintf(a.out, "%s %s removed\n", e.Kind, e.Name) }
	start := time.Now()
	err := compose.Remove(ctx, cli, ref, o)
	if err == nil && !o.Detach {
		fmt.Fprintf(a.out, "stack %s: gone after %s\n", ref, time.Since(start).Round(100*time.Millisecond))
	}
	if !errors.Is(err, compose.ErrNoStack) {
		return err
	}
	err = cli.ServiceRemove(ctx, ref)
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("no stack or service %q: `orch ls` and `orch services` show what there is", ref)
	}
	if err == nil {
		fmt.Fprintf(a.out, "service %s removed\n", ref)
	}
	return err
}
