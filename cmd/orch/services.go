package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"

	"orch/compose"
)

// serviceRow is a line of `orch services`.
type serviceRow struct {
	ID      string
	Name    string
	Stack   string
	Mode    string
	Running uint64
	Desired uint64
	// Completed tasks are done for good: the service's restart policy wants no more of them.
	Completed uint64
	Image     string
	Ports     string
	Updating  string
}

func (r serviceRow) key() string { return r.Name }

func (r serviceRow) cells() []cell {
	c := green
	switch {
	case r.missing() > 0 && r.Running == 0:
		c = red
	case r.missing() > 0:
		c = yellow
	}
	count := fmt.Sprintf("%d/%d", r.Running, r.Desired)
	if r.Completed > 0 {
		count += fmt.Sprintf(" (%d completed)", r.Completed)
	}
	image := text(r.Image)
	image.limit = imageLength
	return []cell{id(r.ID), text(r.Name), text(r.Mode), tinted(count, c), image, text(r.Ports), tinted(r.Updating, yellow)}
}

// missing is how many tasks there should be and are not.
func (r serviceRow) missing() uint64 { return r.Desired - min(r.Desired, r.Running+r.Completed) }

var serviceHeader = []string{"ID", "NAME", "MODE", "RUNNING", "IMAGE", "PORTS", "UPDATE"}

func (a *app) servicesCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "services [STACK]", Short: "List services", Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeStacks}
	f := a.formatFlags(cmd)
	cmd.RunE = a.call(func(ctx context.Context, cli *client.Client, args []string) error {
		o := swarm.ServiceListOptions{Status: true}
		if len(args) > 0 {
			o.Filters = filters.NewArgs(filters.Arg("label", stackLabel+"="+args[0]))
		}
		list, err := cli.ServiceList(ctx, o)
		if err != nil {
			return err
		}
		if len(args) > 0 && len(list) == 0 {
			return fmt.Errorf("no stack %q: `orch ls` shows what there is", args[0])
		}
		done, err := completed(ctx, cli, list)
		if err != nil {
			return err
		}
		return show(a, f, serviceHeader, serviceRows(list, done))
	})
	return cmd
}

// completed counts, by service, the tasks that are done for good, of the services that seem to miss some.
func completed(ctx context.Context, cli *client.Client, list []swarm.Service) (map[string]uint64, error) {
	which := filters.NewArgs()
	for _, s := range list {
		if compose.RunsOnce(s) && s.ServiceStatus != nil && s.ServiceStatus.RunningTasks < s.ServiceStatus.DesiredTasks {
			which.Add("service", s.ID)
		}
	}
	if which.Len() == 0 {
		return nil, nil
	}
	tasks, err := cli.TaskList(ctx, swarm.TaskListOptions{Filters: which})
	return compose.Completed(tasks), err
}

func serviceRows(list []swarm.Service, done map[string]uint64) []serviceRow {
	sortServices(list)
	var rows []serviceRow
	for _, s := range list {
		r := serviceRow{ID: s.ID, Name: s.Spec.Name, Stack: s.Spec.Labels[stackLabel], Mode: modeOf(s.Spec.Mode), Ports: portsOf(s.Endpoint.Ports)}
		if c := s.Spec.TaskTemplate.ContainerSpec; c != nil {
			r.Image = shortImage(c.Image)
		}
		if s.ServiceStatus != nil {
			r.Running, r.Desired = s.ServiceStatus.RunningTasks, s.ServiceStatus.DesiredTasks
		}
		if r.Completed = done[s.ID]; s.JobStatus != nil && s.ServiceStatus != nil {
			r.Completed = s.ServiceStatus.CompletedTasks
		}
		if u := s.UpdateStatus; u != nil && u.State != swarm.UpdateStateCompleted && u.State != "" {
			r.Updating = updating(*u)
		}
		rows = append(rows, r)
	}
	return rows
}

// updating is an update's state, and what is to be known of it.
func updating(u swarm.UpdateStatus) string {
	switch u.Message {
	case "", "update in progress", "update completed", "rollback completed":
		return string(u.State)
	}
	return string(u.State) + ": " + u.Message
}

func modeOf(m swarm.ServiceMode) string {
	switch {
	case m.Global != nil:
		return "global"
	case m.ReplicatedJob != nil:
		return "replicated job"
	case m.GlobalJob != nil:
		return "global job"
	}
	return "replicated"
}

// portsOf is "8080->80/tcp" for each published port, runs of neighbours put together.
func portsOf(ports []swarm.PortConfig) string {
	ports = slices.Clone(ports)
	slices.SortFunc(ports, func(a, b swarm.PortConfig) int {
		return cmp.Or(strings.Compare(string(a.Protocol), string(b.Protocol)), cmp.Compare(a.PublishedPort, b.PublishedPort))
	})
	var out []string
	for i := 0; i < len(ports); {
		n := 1
		for i+n < len(ports) && follows(ports[i+n-1], ports[i+n]) {
			n++
		}
		first, last := ports[i], ports[i+n-1]
		out = append(out, fmt.Sprintf("%s->%s/%s", span(first.PublishedPort, last.PublishedPort), span(first.TargetPort, last.TargetPort), first.Protocol))
		i += n
	}
	return strings.Join(out, ", ")
}

func follows(a, b swarm.PortConfig) bool {
	return a.Protocol == b.Protocol && a.PublishedPort > 0 && b.PublishedPort == a.PublishedPort+1 && b.TargetPort == a.TargetPort+1
}

func span(from, to uint32) string {
	if from == to {
		return fmt.Sprint(from)
	}
	return fmt.Sprintf("%d-%d", from, to)
}
