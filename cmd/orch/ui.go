package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/docker/client"
	"github.com/spf13/cobra"

	"orch/tui"
	"orch/tui/feed"
)

// Size of a snapshot, unless it is asked for otherwise.
const snapshotWidth, snapshotHeight = 120, 40

func (a *app) uiCmd() *cobra.Command {
	var view, snapshot, theme, config string
	var keys bool
	width, height := snapshotWidth, snapshotHeight
	cmd := &cobra.Command{Use: "ui", Short: "Watch and steer the cluster live, full screen", Args: cobra.NoArgs,
		Long: "Watch and steer the cluster live, full screen. --host takes the APIs of several managers, separated by commas: when one does not\n" +
			"answer, the next is asked. ? shows the keys; $XDG_CONFIG_HOME/orch/ui.yml changes them, and --keys prints what can be in it."}
	cmd.Flags().StringVar(&view, "view", "", "begin with `VIEW`, such as services or nodes (default the one that was open last)")
	cmd.Flags().StringVar(&snapshot, "snapshot", "", "print one frame of a `VIEW` as plain text and end")
	cmd.Flags().IntVar(&width, "width", width, "with --snapshot: `COLUMNS` of the frame")
	cmd.Flags().IntVar(&height, "height", height, "with --snapshot: `LINES` of the frame")
	cmd.Flags().StringVar(&theme, "theme", "", "dark, light, none, or auto: what the terminal's background asks for")
	cmd.Flags().StringVar(&config, "config", "", "read keys and theme from `FILE`")
	cmd.Flags().BoolVar(&keys, "keys", false, "print the keys as they can be in the file of keys, and end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o, err := a.uiOptions(config, theme)
		if err != nil {
			return err
		}
		if keys {
			_, err := fmt.Fprint(a.out, tui.KeyTable(o.Config))
			return err
		}
		if width < 1 || height < 1 {
			return usagef("a frame of %d columns and %d lines cannot be drawn", width, height)
		}
		if err := a.dashboardEndpoints(&o); err != nil {
			return err
		}
		defer func() {
			for _, e := range o.Endpoints {
				e.API.Close()
			}
		}()
		if snapshot != "" {
			ctx, cancel := context.WithTimeout(cmd.Context(), callTimeout)
			defer cancel()
			o.View = snapshot
			return tui.Snapshot(ctx, o, width, height, a.out)
		}
		if _, ok := terminal(a.out); !ok {
			return usagef("the dashboard needs a terminal; --snapshot VIEW prints one frame to a file or pipe")
		}
		if t := a.env("TERM"); t == "dumb" || t == "" {
			return usagef("the dashboard needs a terminal that can move its cursor, and TERM is %q; --snapshot VIEW prints one frame", t)
		}
		o.View = view
		return tui.Run(cmd.Context(), o)
	}
	return cmd
}

// uiOptions are those that do not need a cluster.
func (a *app) uiOptions(config, theme string) (o tui.Options, err error) {
	if config == "" {
		config = filepath.Join(a.userDir("XDG_CONFIG_HOME", ".config"), "orch", "ui.yml")
	} else if _, err := os.Stat(config); err != nil {
		return o, err
	}
	if o.Config, err = tui.ReadConfig(config); err != nil {
		return o, err
	}
	o.Theme = theme
	if err := o.CheckTheme(); err != nil {
		return o, usagef("%w", err)
	}
	o.Memory = filepath.Join(a.userDir("XDG_STATE_HOME", ".local/state"), "orch", "ui.json")
	o.NoColour, o.Editor = a.env("NO_COLOR") != "", tui.Editor(a.env)
	o.Deployer = feed.Deployer{By: a.deployer(), RegistryAuth: a.registryAuth}
	if program, err := os.Executable(); err == nil {
		o.Program = []string{program}
	}
	return o, nil
}

// userDir is one of the user's directories as https://specifications.freedesktop.org/basedir has them.
func (a *app) userDir(variable, fallback string) string {
	if dir := a.env(variable); filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(a.env("HOME"), fallback)
}

// dashboardEndpoints makes a client for every host.
func (a *app) dashboardEndpoints(o *tui.Options) error {
	all := a.host()
	for _, host := range strings.Split(all, ",") {
		one := *a
		one.hostFlag = host
		var cli *client.Client
		cli, err := one.client()
		if err != nil {
			return err
		}
		o.Endpoints = append(o.Endpoints, feed.Endpoint{Host: host, API: cli})
	}
	return nil
}
