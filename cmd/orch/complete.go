package main

import (
	"context"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/spf13/cobra"
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
