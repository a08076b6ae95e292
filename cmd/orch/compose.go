package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"orch/compose"
)

// composeFlags are what every command takes that reads compose files.
type composeFlags struct {
	load compose.LoadOptions
}

func (f *composeFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&f.load.Files, "compose-file", "c", nil, "compose `FILE`, may be repeated; - is standard input (default compose.yaml and its other names)")
	cmd.Flags().StringArrayVar(&f.load.EnvFiles, "env-file", nil, "read variables from `FILE` (default .env)")
	cmd.Flags().StringSliceVar(&f.load.Profiles, "profile", nil, "turn on a `PROFILE`, may be repeated")
}

// project loads the files; the argument, if there is one, names the stack.
func (a *app) project(ctx context.Context, f composeFlags, args []string) (*compose.Project, error) {
	o := f.load
	o.Stdin = a.in
	if len(args) > 0 {
		o.ProjectName = args[0]
	}
	return compose.Load(ctx, o)
}

func (a *app) warn(warnings []compose.Warning) {
	for _, w := range warnings {
		fmt.Fprintln(a.err, yellow.paint("warning:", a.colours(a.err)), w)
	}
}

func (a *app) configCmd() *cobra.Command {
	var f composeFlags
	var asJSON, quiet bool
	cmd := &cobra.Command{Use: "config [STACK]", Short: "Check compose files and print what they come to; list and remove configs", Args: cobra.MaximumNArgs(1)}
	f.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON instead of YAML")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "only check")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := a.project(cmd.Context(), f, args)
		if err != nil {
			return err
		}
		a.warn(p.Warnings)
		if quiet {
			return nil
		}
		format := "yaml"
		if asJSON {
			format = "json"
		}
		b, err := p.Marshal(format)
		if err != nil {
			return err
		}
		_, err = a.out.Write(b)
		return err
	}
	cmd.AddCommand(a.configObjectCmds()...)
	return cmd
}
