package main

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

// initTimeout bounds starting a daemon and founding a cluster.
const initTimeout = time.Minute

func (a *app) initCmd() *cobra.Command {
	var s starter
	var pools []string
	var pathPort, poolSize uint32
	var autolock, forceNew bool
	cmd := &cobra.Command{Use: "init", Short: "Make this machine a cluster of one", Args: cobra.NoArgs,
		Long: "Make this machine a cluster of one: manager and worker. Starts the daemon if it does not run, as a systemd unit where\n" +
			"systemd runs the machine, as a background process elsewhere. `orch leave --force` undoes all of it."}
	s.flags(cmd)
	cmd.Flags().StringArrayVar(&pools, "default-addr-pool", nil, "take the networks' subnets from this `CIDR`; may be given more than once")
	cmd.Flags().Uint32Var(&poolSize, "default-addr-pool-mask-length", 0, "length of the subnets' `prefix` (default 24)")
	cmd.Flags().Uint32Var(&pathPort, "data-path-port", 0, "UDP `port` of the traffic of containers between nodes, 1024 to 49151; encrypted networks take the one above, too (default 4789)")
	cmd.Flags().BoolVar(&autolock, "autolock", false, "lock the managers' keys on disk: a restarted manager waits for orch unlock")
	cmd.Flags().BoolVar(&forceNew, "force-new-cluster", false, "after most managers are lost for good: go on from what this one has, alone")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), initTimeout)
		defer cancel()
		cli, err := a.running(ctx, s)
		if err != nil {
			return err
		}
		defer cli.Close()
		id, err := cli.SwarmInit(ctx, swarm.InitRequest{ListenAddr: s.listenAddr, AdvertiseAddr: s.advertiseAddr, DataPathAddr: s.dataPathAddr, DataPathPort: pathPort, DefaultAddrPool: pools, SubnetSize: poolSize, AutoLockManagers: autolock, ForceNewCluster: forceNew})
		if err != nil {
			return err
		}
		if forceNew {
			return a.showRescued(ctx, cli, id)
		}
		join, _, err := joinCommand(ctx, cli, "worker")
		if err != nil {
			return err
		}
		at := ""
		if a.host() != defaultHost {
			at = "-H " + a.host() + " "
		}
		fmt.Fprintf(a.out, "This machine is a cluster of one now (node %s).\n\n"+
			"Run an application:      orch %sdeploy -c compose.yml\n"+
			"Add a machine, there:    %s\n"+
			"Use docker's own CLI:    DOCKER_HOST=%s docker service ls\n", shorten(id, idLength), at, join, a.host())
		if autolock {
			fmt.Fprintln(a.out)
			return a.showUnlockKey(ctx, cli)
		}
		return nil
	}
	return cmd
}

// showRescued says what is to be done after the majority of the managers was lost.
func (a *app) showRescued(ctx context.Context, cli *client.Client, id string) error {
	join, _, err := joinCommand(ctx, cli, "manager")
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "This machine is the cluster's only manager now (node %s). Its services and workers are as they were.\n\n"+
		"On a lost manager that comes back, before anything else:   orch leave --force\n"+
		"Add a manager, there:                                      %s\n", shorten(id, idLength), join)
	return nil
}

func (a *app) leaveCmd() *cobra.Command {
	var force bool
	var dataDir string
	cmd := &cobra.Command{Use: "leave", Short: "Take this machine out of the cluster", Args: cobra.NoArgs,
		Long: "Take this machine out of the cluster, and stop the daemon if init or join started it. The last manager takes the cluster\nwith it and has to be forced."}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "leave even if that ends the cluster or costs it its majority")
	cmd.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "the `DIRECTORY` that init was given")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), initTimeout)
		defer cancel()
		cli, err := a.client()
		if err != nil {
			return err
		}
		defer cli.Close()
		// A machine that is in no cluster still has the daemon to stop, if init was interrupted.
		info, err := cli.Info(ctx)
		if err != nil {
			return err
		}
		active := info.Swarm.LocalNodeState != swarm.LocalNodeStateInactive
		if active {
			if err := cli.SwarmLeave(ctx, force); err != nil {
				return err
			}
			fmt.Fprintln(a.out, "This machine has left the cluster.")
		}
		stopped, err := stopStarted(ctx, dataDir)
		if err != nil {
			return err
		}
		if stopped {
			fmt.Fprintln(a.out, "The daemon has stopped.")
		} else if !active {
			return fmt.Errorf("this machine is in no cluster")
		}
		return nil
	}
	return cmd
}
