package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"

	"orch/compose"
)

func (a *app) promoteCmd() *cobra.Command {
	cmd := a.askCmd("promote SERVICE", "Let an update go on whose canary is held", compose.Promote, "update promoted")
	cmd.Long = "Let an update go on that is held after its first tasks: `x-orch: {canary: N}` of a compose file. `orch services` says which are\nheld. To take such an update back instead: `orch rollback SERVICE`."
	return cmd
}

func (a *app) updateCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "update", Short: "Pause and resume the update of a service", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(
		a.askCmd("pause SERVICE", "Stop an update where it is; what runs goes on running", compose.Pause, "update paused"),
		a.askCmd("resume SERVICE", "Go on with a paused update; also one that was paused by a failure", compose.Resume, "update resumed"))
	return cmd
}

// askCmd asks something of a service's update.
func (a *app) askCmd(use, short, what, done string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeServices,
		RunE: a.call(func(ctx context.Context, cli *client.Client, args []string) error {
			v, err := cli.ServerVersion(ctx)
			if err != nil {
				return err
			}
			if !compose.IsOrch(v) {
				return errors.New("swarm mode of Docker itself has no such request; there, any `docker service update` resumes a paused update")
			}
			name, err := a.change(ctx, cli, args[0], func(s *swarm.ServiceSpec) error { compose.Ask(s, what); return nil })
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s: %s\n", name, done)
			return nil
		})}
}
