package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

const longHelp = `orch runs compose applications on one machine or many, with Docker Swarm's API and model.

  orch init                        make this machine a cluster of one
  orch deploy -c compose.yml       build, roll out, wait until healthy
  orch ps                          what runs, and what is wrong

Any Docker client works with the same cluster: DOCKER_HOST=unix://` + defaultSocket + ` docker service ls

Exit codes: 0 done, 1 failed, 2 wrong usage (and for plan: there are changes), 3 deployed but not healthy in time.`

// main runs one command line and returns its exit code.
func (a *app) main(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := flagGroups(root.ExecuteContext(ctx))
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	if text := a.explain(ctx, err); text != "" {
		fmt.Fprintln(a.err, "orch: "+text)
	}
	if code == exitUsage && !errors.As(err, new(codeError)) {
		fmt.Fprintln(a.err, "See 'orch "+strings.TrimSpace(commandPath(root, args)+" --help'"))
	}
	return code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "orch", Short: "Compose applications on one machine or many", Long: longHelp, Version: version,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("orch {{.Version}}\n")
	root.PersistentFlags().StringVarP(&a.hostFlag, "host", "H", "", "API endpoint (default $ORCH_HOST, else "+defaultHost+")")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%w", err) })
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"deploy", "Deploy and go back:", []*cobra.Command{
			a.deployCmd(), a.planCmd(), a.historyCmd(), a.rollbackCmd(), a.rmCmd(), a.configCmd(),
		}},
		{"look", "Look:", []*cobra.Command{
			a.uiCmd(), a.lsCmd(), a.servicesCmd(), a.psCmd(), a.topCmd(), a.logsCmd(), a.eventsCmd(), a.inspectCmd(), a.secretCmd(), a.networkCmd(),
		}},
		{"act", "Act:", []*cobra.Command{
			a.runCmd(), a.execCmd(), a.portForwardCmd(), a.scaleCmd(), a.restartCmd(), a.updateCmd(), a.promoteCmd(),
		}},
		{"cluster", "Cluster:", []*cobra.Command{
			a.initCmd(), a.joinCmd(), a.leaveCmd(), a.tokenCmd(), a.nodeCmd(), a.rebalanceCmd(), a.netCmd(), a.autolockCmd(), a.unlockCmd(), a.caCmd(), a.backupCmd(), a.restoreCmd(), a.infoCmd(), a.doctorCmd(), a.daemonCmd(),
		}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.id
			root.AddCommand(c)
		}
	}
	root.AddCommand(a.versionCmd())
	usageErrors(root)
	return root
}

// unknownCommand names the command that was probably meant.
func unknownCommand(parent *cobra.Command, name string) error {
	path := strings.TrimPrefix(parent.CommandPath()+" ", "orch ")
	parent.SuggestionsMinimumDistance = 2
	if near := parent.SuggestionsFor(name); len(near) > 0 {
		return usagef("unknown command %q; did you mean %q?", path+name, path+near[0])
	}
	return usagef("unknown command %q", path+name)
}

// exclusive is cobra's text for flags that exclude each other.
var exclusive = regexp.MustCompile(`^if any flags in the group .* \[(\S+) (\S+)\] were all set$`)

// flagGroups makes it a usage error that says what it means.
func flagGroups(err error) error {
	if err == nil {
		return nil
	}
	if m := exclusive.FindStringSubmatch(err.Error()); m != nil {
		return usagef("--%s and --%s exclude each other", m[1], m[2])
	}
	return err
}

// usageErrors makes a wrong number of arguments a usage error like any other.
func usageErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usagef("%w", err)
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		usageErrors(c)
	}
}

// commandPath is the part of args that names a command.
func commandPath(root *cobra.Command, args []string) string {
	c, _, err := root.Find(args)
	if err != nil || c == root {
		return ""
	}
	return strings.TrimPrefix(c.CommandPath(), "orch ")
}
