package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"

	"orch/compose"
)

// objectRow is a line of `orch secret ls`, `orch config ls` and `orch network ls`.
type objectRow struct {
	ID      string
	Name    string
	Stack   string `json:",omitempty"`
	Subnet  string `json:",omitempty"`
	Created time.Time

	now time.Time
}

func (r objectRow) key() string { return r.Name }

func (r objectRow) cells() []cell {
	return []cell{id(r.ID), text(r.Name), text(r.Stack), text(r.Subnet), text(age(r.Created, r.now))}
}

var objectHeader = []string{"ID", "NAME", "STACK", "SUBNET", "AGE"}

// objectCmds are ls and rm for one kind of object.
func (a *app) objectCmds(kind string, list func(context.Context, *client.Client) ([]objectRow, error), remove func(context.Context, *client.Client, string) error) []*cobra.Command {
	ls := &cobra.Command{Use: "ls", Short: "List " + kind + "s", Args: cobra.NoArgs}
	f := a.formatFlags(ls)
	ls.RunE = a.call(func(ctx context.Context, cli *client.Client, _ []string) error {
		rows, err := list(ctx, cli)
		if err != nil {
			return err
		}
		slices.SortFunc(rows, func(x, y objectRow) int { return strings.Compare(x.Name, y.Name) })
		return show(a, f, objectHeader, rows)
	})
	rm := &cobra.Command{Use: "rm NAME...", Short: "Remove " + kind + "s", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeObjects(list), RunE: a.call(func(ctx context.Context, cli *client.Client, args []string) error {
		for _, name := range args {
			err := remove(ctx, cli, name)
			if errdefs.IsNotFound(err) {
				return fmt.Errorf("no %s %q: `orch %s ls` shows what there is", kind, name, kind)
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, name)
		}
		return nil
	})}
	return []*cobra.Command{ls, rm}
}

func (a *app) secretCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "secret", Short: "List and remove secrets", Args: noSubcommand, RunE: helpRun}
	cmd.AddCommand(a.objectCmds("secret", func(ctx context.Context, cli *client.Client) ([]objectRow, error) {
		found, err := cli.SecretList(ctx, swarm.SecretListOptions{})
		var rows []objectRow
		for _, s := range found {
			rows = append(rows, objectRow{ID: s.ID, Name: s.Spec.Name, Stack: s.Spec.Labels[stackLabel], Created: s.CreatedAt, now: time.Now()})
		}
		return rows, err
	}, func(ctx context.Context, cli *client.Client, name string) error { return cli.SecretRemove(ctx, name) })...)
	return cmd
}

func (a *app) configObjectCmds() []*cobra.Command {
	return a.objectCmds("config", func(ctx context.Context, cli *client.Client) ([]objectRow, error) {
		found, err := cli.ConfigList(ctx, swarm.ConfigListOptions{})
		var rows []objectRow
		for _, c := range found {
			if compose.IsRevision(c) {
				continue // `orch history` shows them
			}
			rows = append(rows, objectRow{ID: c.ID, Name: c.Spec.Name, Stack: c.Spec.Labels[stackLabel], Created: c.CreatedAt, now: time.Now()})
		}
		return rows, err
	}, func(ctx context.Context, cli *client.Client, name string) error { return cli.ConfigRemove(ctx, name) })
}

func (a *app) networkCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "network", Short: "List and remove networks of the cluster", Args: noSubcommand, RunE: helpRun}
	cmd.AddCommand(a.objectCmds("network", func(ctx context.Context, cli *client.Client) ([]objectRow, error) {
		found, err := cli.NetworkList(ctx, network.ListOptions{})
		var rows []objectRow
		for _, n := range found {
			if n.Scope != "swarm" {
				continue
			}
			r := objectRow{ID: n.ID, Name: n.Name, Stack: n.Labels[stackLabel], Created: n.Created, now: time.Now()}
			for _, c := range n.IPAM.Config {
				r.Subnet = strings.TrimPrefix(r.Subnet+", "+c.Subnet, ", ")
			}
			rows = append(rows, r)
		}
		return rows, err
	}, func(ctx context.Context, cli *client.Client, name string) error { return cli.NetworkRemove(ctx, name) })...)
	return cmd
}
