package main

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/spf13/cobra"

	"orch/compose"
)

// completeTimeout keeps a shell from hanging on a Tab.
const completeTimeout = 2 * time.Second

// candidates asks for all services and offers what of turns each into; a cluster that does not answer offers nothing.
func (a *app) candidates(ctx context.Context, of func(swarm.Service) []string) ([]string, cobra.ShellCompDirective) {
	cli, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer cli.Close()
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	list, err := cli.ServiceList(ctx, swarm.ServiceListOptions{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, s := range list {
		for _, name := range of(s) {
			if name != "" && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
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
	cli, err := a.client()
	if err != nil || len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer cli.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	list, _ := compose.History(ctx, cli, args[0]) // a cluster that does not answer offers nothing
	var out []string
	for _, r := range list {
		out = append(out, cobra.CompletionWithDesc(strconv.Itoa(r.Number), string(r.Outcome)+", "+r.Summary))
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

func (a *app) completeRollback(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.completeBoth(cmd, args, prefix)
	}
	return a.completeRevisions(cmd, args, prefix)
}
