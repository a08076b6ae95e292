package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

func (a *app) inspectCmd() *cobra.Command {
	var template string
	cmd := &cobra.Command{Use: "inspect NAME|ID...", Short: "Show services, tasks, nodes, secrets, configs or networks as JSON", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeServices}
	cmd.Flags().StringVar(&template, "format", "json", "json, or a Go template")
	cmd.RunE = a.call(func(ctx context.Context, cli *client.Client, args []string) error {
		var found []any
		for _, ref := range args {
			v, err := inspect(ctx, cli, ref)
			if err != nil {
				return err
			}
			found = append(found, v)
		}
		if template == "json" {
			return writeJSON(a.out, found)
		}
		return renderTemplate(a.out, template, found)
	})
	return cmd
}

// kinds are what a name is looked for in, the likeliest first.
var kinds = []func(context.Context, *client.Client, string) (any, error){
	func(ctx context.Context, cli *client.Client, ref string) (any, error) {
		v, _, err := cli.ServiceInspectWithRaw(ctx, ref, swarm.ServiceInspectOptions{})
		return v, err
	},
	func(ctx context.Context, cli *client.Client, ref string) (any, error) {
		v, _, err := cli.TaskInspectWithRaw(ctx, ref)
		return v, err
	},
	func(ctx context.Context, cli *client.Client, ref string) (any, error) {
		v, _, err := cli.NodeInspectWithRaw(ctx, ref)
		return v, err
	},
	func(ctx context.Context, cli *client.Client, ref string) (any, error) {
		v, _, err := cli.SecretInspectWithRaw(ctx, ref)
		return v, err
	},
	func(ctx context.Context, cli *client.Client, ref string) (any, error) {
		v, _, err := cli.ConfigInspectWithRaw(ctx, ref)
		return v, err
	},
	func(ctx context.Context, cli *client.Client, ref string) (any, error) {
		_, raw, err := cli.NetworkInspectWithRaw(ctx, ref, network.InspectOptions{})
		if err != nil {
			return nil, err
		}
		var v map[string]any
		return v, json.Unmarshal(raw, &v)
	},
}

func inspect(ctx context.Context, cli *client.Client, ref string) (any, error) {
	for _, kind := range kinds {
		v, err := kind(ctx, cli, ref)
		if err == nil {
			return v, nil
		}
		if !errdefs.IsNotFound(err) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no service, task, node, secret, config or network %q", ref)
}
