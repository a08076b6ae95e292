package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

func (a *app) infoCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "info", Short: "Show this machine's place in the cluster", Args: cobra.NoArgs}
	cmd.Flags().BoolVar(&asJSON, "json", false, "everything, as JSON")
	cmd.RunE = a.call(func(ctx context.Context, cli *client.Client, _ []string) error {
		info, err := cli.Info(ctx)
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(a.out, info)
		}
		return writeInfo(a.out, a.host(), info)
	})
	return cmd
}

func writeInfo(w io.Writer, host string, info system.Info) error {
	s := info.Swarm
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-10s %s\n", name+":", value)
		}
	}
	line("Endpoint", host)
	line("Machine", fmt.Sprintf("%s, %s, %s", info.Name, plural(info.NCPU, "CPU"), gigabytes(info.MemTotal)))
	line("Docker", info.ServerVersion)
	state := string(s.LocalNodeState)
	switch {
	case s.LocalNodeState == swarm.LocalNodeStateInactive:
		state += " (`orch init` makes a cluster of this machine, `orch join` joins one)"
	case s.LocalNodeState == swarm.LocalNodeStateActive && s.ControlAvailable:
		state += ", manager"
	case s.LocalNodeState == swarm.LocalNodeStateActive:
		state += ", worker"
	}
	line("Cluster", state)
	line("Node", strings.TrimSpace(s.NodeID+" "+s.NodeAddr))
	if s.ControlAvailable {
		line("Nodes", fmt.Sprintf("%d, of these %s", s.Nodes, plural(s.Managers, "manager")))
	}
	var managers []string
	for _, m := range s.RemoteManagers {
		managers = append(managers, m.Addr)
	}
	line("Managers", strings.Join(managers, ", "))
	line("Problem", s.Error)
	for _, warning := range info.Warnings {
		line("Warning", warning)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func gigabytes(n int64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Show the version of orch, and of the engine that answers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintf(a.out, "orch %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			cli, err := a.client()
			if err != nil {
				return nil // the version of orch alone is a good answer too
			}
			defer cli.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
			defer cancel()
			if v, err := cli.ServerVersion(ctx); err == nil {
				fmt.Fprintf(a.out, "engine %s, API %s (%s)\n", v.Version, cli.ClientVersion(), a.host())
			}
			return nil
		}}
}
