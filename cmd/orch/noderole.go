package main

import (
	"context"
	"fmt"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

// nodeRoleCmd is nodeSetCmd for what changes the number of managers.
func (a *app) nodeRoleCmd(verb, short string, role swarm.NodeRole) *cobra.Command {
	cmd := a.nodeSetCmd(verb, short, nil)
	cmd.RunE = a.call(func(ctx context.Context, cli *client.Client, args []string) error {
		if err := a.changeNodes(ctx, cli, args, func(s *swarm.NodeSpec) { s.Role = role }); err != nil {
			return err
		}
		info, err := cli.Info(ctx)
		if err == nil { // a demoted manager has nothing to say about that
			a.warnManagers(info.Swarm.Managers)
		}
		return nil
	})
	return cmd
}

// warnManagers says that two managers are worse than one.
func (a *app) warnManagers(managers int) {
	if managers == 2 {
		fmt.Fprintln(a.err, "Two managers survive no loss: with either of them away, nothing can be changed. Make a third one.")
	}
}
