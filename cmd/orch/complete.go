package main

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"

	"orch/compose"
)

// completeTimeout keeps a shell from hanging on a Tab.
const completeTimeout = 2 * time.Second

// complete offers what ask finds; a cluster that does not answer offers nothing.
func (a *app) complete(ctx context.Context, ask func(context.Context, *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	cli, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer cli.Close()
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	found, err := ask(ctx, cli)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// candidates asks for all services and offers what of turns each into.
func (a *app) candidates(ctx context.Context, of func(swarm.Service) []string) ([]string, cobra.ShellCompDirective) {
	return a.complete(ctx, func(ctx context.Context, cli *client.Client) (out []string, _ error) {
		list, err := cli.ServiceList(ctx, swarm.ServiceListOptions{})
		for _, s := range list {
			for _, name := range of(s) {
				if name != "" && !slices.Contains(out, name) {
					out = append(out, name)
				}
			}
		}
		return out, err
	})
}

func (a *app) completeNodes(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.complete(cmd.Context(), func(ctx context.Context, cli *client.Client) (out []string, _ error) {
		list, err := cli.NodeList(ctx, swarm.NodeListOptions{})
		for _, n := range list {
			out = append(out, n.Description.Hostname)
		}
		return out, err
	})
}

// completeObjects offers the names of secrets, configs or networks.
func (a *app) completeObjects(list func(context.Context, *client.Client) ([]objectRow, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.complete(cmd.Context(), func(ctx context.Context, cli *client.Client) (out []string, _ error) {
			rows, err := list(ctx, cli)
			for _, r := range rows {
				out = append(out, r.Name)
			}
			return out, err
		})
	}
}

func (a *app) completeServices(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.candidates(cmd.Context(), func(s swarm.Service) []string { return []string{s.Spec.Name} })
}

func (a *app) completeStacks(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.candidates(cmd.Context(), func(s swarm.Service) []string { return []string{s.Spec.Labels[stackLabel]} })
}

func (a *app) completeBoth(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.candidates(cmd.Context(), func(s swarm.Service) []string { return []string{s.Spec.Labels[stackLabel], s.Spec.Name} })
}

// completeScale offers SERVICE= and leaves the number to the user.
func (a *app) completeScale(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	names, directive := a.candidates(cmd.Context(), func(s swarm.Service) []string { return []string{s.Spec.Name + "="} })
	return names, directive | cobra.ShellCompDirectiveNoSpace
}

// completeRevisions offers a stack, then its revisions.
func (a *app) completeRevisions(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.completeStacks(cmd, args, prefix)
	}
	if len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	out, directive := a.complete(cmd.Context(), func(ctx context.Context, cli *client.Client) (out []string, _ error) {
		list, err := compose.History(ctx, cli, args[0])
		for _, r := range list {
			out = append(out, cobra.CompletionWithDesc(strconv.Itoa(r.Number), string(r.Outcome)+", "+r.Summary))
		}
		return out, err
	})
	return out, directive | cobra.ShellCompDirectiveKeepOrder
}

func (a *app) completeRollback(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.completeBoth(cmd, args, prefix)
	}
	return a.completeRevisions(cmd, args, prefix)
}
