package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

// joinTimeout bounds joining: a manager waits its turn, since joins are one at a time.
const joinTimeout = 2 * time.Minute

func (a *app) tokenCmd() *cobra.Command {
	var rotate, quiet bool
	cmd := &cobra.Command{Use: "token [worker|manager]", Short: "Show how other machines join", Args: cobra.MaximumNArgs(1), ValidArgs: []string{"worker", "manager"}}
	cmd.Flags().BoolVar(&rotate, "rotate", false, "make a new token; the old one is refused from then on")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "only the token")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		role := "worker"
		if len(args) > 0 {
			role = args[0]
		}
		if role != "worker" && role != "manager" {
			return usagef("%q: want worker or manager", role)
		}
		return a.call(func(ctx context.Context, cli *client.Client, _ []string) error {
			if rotate {
				if err := rotateToken(ctx, cli, role); err != nil {
					return err
				}
			}
			command, token, err := joinCommand(ctx, cli, role)
			if err != nil {
				return err
			}
			if quiet {
				fmt.Fprintln(a.out, token)
				return nil
			}
			fmt.Fprintln(a.out, command)
			return nil
		})(cmd, args)
	}
	return cmd
}

func rotateToken(ctx context.Context, cli *client.Client, role string) error {
	s, err := cli.SwarmInspect(ctx)
	if err != nil {
		return err
	}
	flags := swarm.UpdateFlags{RotateWorkerToken: role == "worker", RotateManagerToken: role == "manager"}
	if err := cli.SwarmUpdate(ctx, s.Version, s.Spec, flags); err != nil {
		return fmt.Errorf("rotate the %s token: %w", role, err)
	}
	return nil
}

// joinCommand is what to type on a machine that is to join.
func joinCommand(ctx context.Context, cli *client.Client, role string) (command, token string, err error) {
	s, err := cli.SwarmInspect(ctx)
	if err != nil {
		return "", "", err
	}
	token = s.JoinTokens.Worker
	if role == "manager" {
		token = s.JoinTokens.Manager
	}
	n, err := inspectNode(ctx, cli, "self")
	if err != nil {
		return "", "", err
	}
	addr := n.Status.Addr
	if n.ManagerStatus != nil {
		addr = n.ManagerStatus.Addr
	}
	return fmt.Sprintf("orch join --token %s %s", token, addr), token, nil
}

func (a *app) joinCmd() *cobra.Command {
	var token string
	var s starter
	cmd := &cobra.Command{Use: "join --token TOKEN ADDRESS[:PORT]", Short: "Add this machine to a cluster", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVar(&token, "token", "", "what `orch token` shows on a manager")
	s.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if token == "" {
			return usagef("--token is missing: `orch token` on a manager of the cluster shows it")
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), joinTimeout)
		defer cancel()
		cli, err := a.running(ctx, s)
		if err != nil {
			return err
		}
		defer cli.Close()
		remote := args[0]
		if _, _, err := net.SplitHostPort(remote); err != nil {
			remote = net.JoinHostPort(remote, "2377")
		}
		if err := cli.SwarmJoin(ctx, swarm.JoinRequest{ListenAddr: s.listenAddr, AdvertiseAddr: s.advertiseAddr, DataPathAddr: s.dataPathAddr, RemoteAddrs: []string{remote}, JoinToken: token}); err != nil {
			return err
		}
		info, err := cli.Info(ctx)
		if err != nil {
			return err
		}
		role := "worker"
		if info.Swarm.ControlAvailable {
			role = "manager"
		}
		fmt.Fprintf(a.out, "This machine is a %s of the cluster now.\n", role)
		a.warnManagers(info.Swarm.Managers)
		return nil
	}
	return cmd
}
