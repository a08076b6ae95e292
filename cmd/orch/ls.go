package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

// stackRow is a line of `orch ls`.
type stackRow struct {
	Name     string
	Services int
	Running  uint64 // or done for good
	Desired  uint64
	Status   string
}

func (r stackRow) key() string { return r.Name }

func (r stackRow) cells() []cell {
	c := green
	if r.Status != "running" {
		c = yellow
	}
	return []cell{text(r.Name), text(fmt.Sprint(r.Services)), text(fmt.Sprintf("%d/%d", r.Running, r.Desired)), tinted(r.Status, c)}
}

func (a *app) lsCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Aliases: []string{"stacks"}, Short: "List stacks", Args: cobra.NoArgs}
	f := a.formatFlags(cmd)
	cmd.RunE = a.call(func(ctx context.Context, cli *client.Client, _ []string) error {
		list, err := cli.ServiceList(ctx, swarm.ServiceListOptions{Status: true, Filters: filters.NewArgs(filters.Arg("label", stackLabel))})
		if err != nil {
			return err
		}
		done, err := completed(ctx, cli, list)
		if err != nil {
			return err
		}
		return show(a, f, []string{"STACK", "SERVICES", "TASKS", "STATUS"}, stackRows(list, done))
	})
	return cmd
}

// stackRows adds services up; a stack is as well as the worst of its services.
func stackRows(list []swarm.Service, done map[string]uint64) []stackRow {
	byName := map[string]*stackRow{}
	for _, s := range serviceRows(list, done) {
		r := byName[s.Stack]
		if r == nil {
			r = &stackRow{Name: s.Stack, Status: "running"}
			byName[s.Stack] = r
		}
		r.Services++
		r.Running += s.Running + s.Completed
		r.Desired += s.Desired
		switch {
		case s.Updating != "":
			r.Status = s.Updating
		case s.missing() > 0 && r.Status == "running":
			r.Status = "incomplete"
		}
	}
	var rows []stackRow
	for _, r := range byName {
		rows = append(rows, *r)
	}
	slices.SortFunc(rows, func(a, b stackRow) int { return strings.Compare(a.Name, b.Name) })
	return rows
}
