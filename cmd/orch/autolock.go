package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func (a *app) autolockCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "autolock", Short: "Lock managers' keys on disk, and show the key that unlocks them", Args: noSubcommand, RunE: helpRun,
		Long: "While autolock is on, what a manager has on its disk is of no use without the unlock key: after every restart of its\n" +
			"daemon a manager waits for `orch unlock`. Containers run on meanwhile."}
	set := func(verb, short string, on bool, flags swarm.UpdateFlags) *cobra.Command {
		return &cobra.Command{Use: verb, Short: short, Args: cobra.NoArgs, RunE: a.call(func(ctx context.Context, cli *client.Client, _ []string) error {
			return a.setAutolock(ctx, cli, on, flags)
		})}
	}
	cmd.AddCommand(
		set("on", "Lock the managers; shows the unlock key", true, swarm.UpdateFlags{}),
		set("off", "Leave the managers' keys in the clear", false, swarm.UpdateFlags{}),
		set("rotate", "Make a new unlock key and show it", true, swarm.UpdateFlags{RotateManagerUnlockKey: true}),
		&cobra.Command{Use: "key", Short: "Show the unlock key", Args: cobra.NoArgs, RunE: a.call(func(ctx context.Context, cli *client.Client, _ []string) error {
			return a.showUnlockKey(ctx, cli)
		})})
	return cmd
}

func (a *app) setAutolock(ctx context.Context, cli *client.Client, on bool, flags swarm.UpdateFlags) error {
	err := changeSwarm(ctx, cli, flags, func(s *swarm.Spec) error {
		if flags.RotateManagerUnlockKey && !s.EncryptionConfig.AutoLockManagers {
			return errors.New("autolock is off, there is no key to rotate: `orch autolock on` turns it on")
		}
		s.EncryptionConfig.AutoLockManagers = on
		return nil
	})
	if err != nil {
		return err
	}
	if !on {
		fmt.Fprintln(a.out, "Managers start without an unlock key from now on.")
		return nil
	}
	return a.showUnlockKey(ctx, cli)
}

// changeSwarm changes the cluster's spec, again if somebody else was faster.
func changeSwarm(ctx context.Context, cli *client.Client, flags swarm.UpdateFlags, change func(*swarm.Spec) error) error {
	for try := 1; ; try++ {
		s, err := cli.SwarmInspect(ctx)
		if err != nil {
			return err
		}
		if err := change(&s.Spec); err != nil {
			return err
		}
		err = cli.SwarmUpdate(ctx, s.Version, s.Spec, flags)
		if err == nil || try == changeTries || !outOfSequence(err) {
			return err
		}
	}
}

// showUnlockKey prints the key, and to people also what it is for.
func (a *app) showUnlockKey(ctx context.Context, cli *client.Client) error {
	r, err := cli.SwarmGetUnlockKey(ctx)
	if err != nil {
		return err
	}
	if r.UnlockKey == "" {
		return errors.New("autolock is off, there is no unlock key: `orch autolock on` turns it on")
	}
	if _, tty := terminal(a.out); tty {
		fmt.Fprintln(a.out, "A manager that was restarted needs this key (`orch unlock`). Keep it apart from the machines: without it, and without\n"+
			"another manager that runs, the cluster cannot be opened again.")
	}
	fmt.Fprintln(a.out, r.UnlockKey)
	return nil
}

func (a *app) unlockCmd() *cobra.Command {
	return &cobra.Command{Use: "unlock", Short: "Let this manager go on after a restart, with the unlock key", Args: cobra.NoArgs,
		Long: "Let this manager go on after a restart. The unlock key is asked for, or read from standard input: it is no argument, because\nothers on the machine could read it there.",
		RunE: a.stream(func(ctx context.Context, cli *client.Client, _ []string) error {
			ctx, cancel := context.WithTimeout(ctx, initTimeout)
			defer cancel()
			info, err := cli.Info(ctx)
			if err != nil {
				return err
			}
			if info.Swarm.LocalNodeState != swarm.LocalNodeStateLocked {
				return fmt.Errorf("this machine is not locked (it is %s)", info.Swarm.LocalNodeState)
			}
			key, err := a.secretLine("Unlock key: ")
			if err != nil {
				return err
			}
			if err := cli.SwarmUnlock(ctx, swarm.UnlockRequest{UnlockKey: key}); err != nil {
				return err
			}
			fmt.Fprintln(a.out, "This manager is unlocked.")
			return nil
		})}
}

// secretLine asks for something that is not shown, or reads a line of standard input.
func (a *app) secretLine(prompt string) (string, error) {
	if fd, tty := terminal(a.in); tty {
		fmt.Fprint(a.err, prompt)
		line, err := term.ReadPassword(fd)
		fmt.Fprintln(a.err)
		return strings.TrimSpace(string(line)), err
	}
	line, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimSpace(line), nil
}
