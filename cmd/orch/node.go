package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

// nodeRow is a line of `orch node ls`.
type nodeRow struct {
	ID           string
	Hostname     string
	Self         bool
	Status       string
	Availability string
	Role         string // worker, manager, leader
	Reachability string `json:",omitempty"`
	Address      string
	Engine       string
	Message      string `json:",omitempty"`
}

func (r nodeRow) key() string { return r.ID }

func (r nodeRow) cells() []cell {
	name := r.Hostname
	if r.Self {
		name += " *"
	}
	status, availability, role := tinted(r.Status, green), text(r.Availability), text(r.Role)
	if r.Status != string(swarm.NodeStateReady) {
		status.colour = red
	}
	if r.Availability != string(swarm.NodeAvailabilityActive) {
		availability.colour = yellow
	}
	if r.Reachability != "" && r.Reachability != string(swarm.ReachabilityReachable) {
		role = tinted(r.Role+" ("+r.Reachability+")", red)
	}
	message := tinted(r.Message, red)
	message.limit = errorLength
	return []cell{id(r.ID), text(name), status, availability, role, text(r.Address), text(r.Engine), message}
}

var nodeHeader = []string{"ID", "NODE", "STATUS", "AVAILABILITY", "ROLE", "ADDRESS", "DOCKER", "MESSAGE"}

func (a *app) nodeCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "List, show and change the machines of the cluster", Args: noSubcommand, RunE: helpRun}
	cmd.AddCommand(a.nodeLsCmd(), a.nodeInspectCmd(), a.nodeUpdateCmd(), a.nodeRmCmd(),
		a.drainCmd(),
		a.nodeSetCmd("pause", "Give nodes no new tasks; those that run stay", func(s *swarm.NodeSpec) { s.Availability = swarm.NodeAvailabilityPause }),
		a.nodeSetCmd("activate", "Let nodes have tasks again", func(s *swarm.NodeSpec) { s.Availability = swarm.NodeAvailabilityActive }),
		a.nodeRoleCmd("promote", "Make nodes managers", swarm.NodeRoleManager),
		a.nodeSetCmd("accept", "Let nodes end tasks that the managers do not know, after the state was restored", func(s *swarm.NodeSpec) { setLabels(s, []string{"orch.accept=present"}, nil) }),
		a.nodeRoleCmd("demote", "Make nodes plain workers", swarm.NodeRoleWorker))
	return cmd
}

func noSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	return nil
}

func helpRun(cmd *cobra.Command, _ []string) error { return cmd.Help() }

func (a *app) nodeLsCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Short: "List nodes; * is the one that answers", Args: cobra.NoArgs}
	f := a.formatFlags(cmd)
	cmd.RunE = a.call(func(ctx context.Context, cli *client.Client, _ []string) error {
		list, err := cli.NodeList(ctx, swarm.NodeListOptions{})
		if err != nil {
			return err
		}
		info, err := cli.Info(ctx)
		if err != nil {
			return err
		}
		var rows []nodeRow
		for _, n := range list {
			rows = append(rows, newNodeRow(n, info.Swarm.NodeID))
		}
		return show(a, f, nodeHeader, rows)
	})
	return cmd
}

func newNodeRow(n swarm.Node, self string) nodeRow {
	r := nodeRow{ID: n.ID, Hostname: n.Description.Hostname, Self: n.ID == self, Status: string(n.Status.State), Availability: string(n.Spec.Availability),
		Role: string(n.Spec.Role), Address: n.Status.Addr, Engine: n.Description.Engine.EngineVersion, Message: n.Status.Message}
	if m := n.ManagerStatus; m != nil {
		r.Reachability = string(m.Reachability)
		if m.Leader {
			r.Role = "leader"
		}
	}
	return r
}

func (a *app) nodeInspectCmd() *cobra.Command {
	return &cobra.Command{Use: "inspect NODE...", Short: "Show nodes as JSON; self is this machine", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeNodes,
		RunE: a.call(func(ctx context.Context, cli *client.Client, args []string) error {
			var found []swarm.Node
			for _, ref := range args {
				n, err := inspectNode(ctx, cli, ref)
				if err != nil {
					return err
				}
				found = append(found, n)
			}
			return writeJSON(a.out, found)
		})}
}

func inspectNode(ctx context.Context, cli *client.Client, ref string) (swarm.Node, error) {
	if ref == "self" {
		info, err := cli.Info(ctx)
		if err != nil {
			return swarm.Node{}, err
		}
		ref = info.Swarm.NodeID
	}
	n, _, err := cli.NodeInspectWithRaw(ctx, ref)
	if errdefs.IsNotFound(err) {
		return n, fmt.Errorf("no node %q: `orch node ls` shows what there is", ref)
	}
	return n, err
}

func (a *app) nodeSetCmd(verb, short string, set func(*swarm.NodeSpec)) *cobra.Command {
	return &cobra.Command{Use: verb + " NODE...", Short: short, Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeNodes,
		RunE: a.call(func(ctx context.Context, cli *client.Client, args []string) error {
			return a.changeNodes(ctx, cli, args, set)
		})}
}

func (a *app) nodeUpdateCmd() *cobra.Command {
	var add, remove []string
	cmd := &cobra.Command{Use: "update NODE...", Aliases: []string{"label"}, Short: "Change labels of nodes", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeNodes}
	cmd.Flags().StringArrayVar(&add, "label-add", nil, "set a label `KEY[=VALUE]`")
	cmd.Flags().StringArrayVar(&remove, "label-rm", nil, "remove the label `KEY`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(add)+len(remove) == 0 {
			return usagef("nothing to change: give --label-add or --label-rm")
		}
		return a.call(func(ctx context.Context, cli *client.Client, args []string) error {
			return a.changeNodes(ctx, cli, args, func(s *swarm.NodeSpec) { setLabels(s, add, remove) })
		})(cmd, args)
	}
	return cmd
}

func setLabels(s *swarm.NodeSpec, add, remove []string) {
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	for _, key := range remove {
		delete(s.Labels, key)
	}
	for _, label := range add {
		key, value, _ := strings.Cut(label, "=")
		s.Labels[key] = value
	}
}

func (a *app) changeNodes(ctx context.Context, cli *client.Client, refs []string, set func(*swarm.NodeSpec)) error {
	for _, ref := range refs {
		for try := 1; ; try++ {
			n, err := inspectNode(ctx, cli, ref)
			if err != nil {
				return err
			}
			set(&n.Spec)
			err = cli.NodeUpdate(ctx, n.ID, n.Version, n.Spec)
			if err == nil {
				break
			}
			if try == changeTries || !outOfSequence(err) {
				return fmt.Errorf("change node %s: %w", n.Description.Hostname, err)
			}
		}
		fmt.Fprintln(a.out, ref)
	}
	return nil
}

func (a *app) nodeRmCmd() *cobra.Command {
	var force bool
	cmd := &cobra.Command{Use: "rm NODE...", Short: "Remove nodes that are down from the cluster", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeNodes}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "remove nodes that are not down, too")
	cmd.RunE = a.call(func(ctx context.Context, cli *client.Client, args []string) error {
		for _, ref := range args {
			n, err := inspectNode(ctx, cli, ref)
			if err != nil {
				return err
			}
			if err := cli.NodeRemove(ctx, n.ID, swarm.NodeRemoveOptions{Force: force}); err != nil {
				return err
			}
			fmt.Fprintln(a.out, ref)
		}
		return nil
	})
	return cmd
}
