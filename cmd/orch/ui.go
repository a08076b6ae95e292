package main

import (
	"context"

	"github.com/docker/docker/client"
	"github.com/spf13/cobra"

	"orch/tui"
)

// Size of a snapshot where output is no terminal.
const snapshotWidth, snapshotHeight = 120, 40

func (a *app) uiCmd() *cobra.Command {
	var view, snapshot string
	cmd := &cobra.Command{Use: "ui", Short: "Watch and steer the cluster live, full screen", Args: cobra.NoArgs}
	cmd.Flags().StringVar(&view, "view", "", "begin with `VIEW`, such as services or nodes")
	cmd.Flags().StringVar(&snapshot, "snapshot", "", "print one frame of a `VIEW` as plain text and end")
	cmd.RunE = a.stream(func(ctx context.Context, cli *client.Client, _ []string) error {
		o := tui.Options{Client: cli, Host: a.host(), View: view}
		if snapshot != "" {
			ctx, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			return tui.Snapshot(ctx, o, snapshot, snapshotWidth, snapshotHeight, a.out)
		}
		if _, ok := terminal(a.out); !ok {
			return usagef("the dashboard needs a terminal; --snapshot VIEW prints one frame to a file or pipe")
		}
		if a.env("TERM") == "dumb" {
			return usagef("the dashboard needs a terminal that can move its cursor, and TERM is dumb; --snapshot VIEW prints one frame")
		}
		return tui.Run(ctx, o)
	})
	return cmd
}
