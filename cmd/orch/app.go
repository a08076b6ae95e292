package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const (
	defaultSocket  = "/run/orch/orch.sock"
	defaultHost    = "unix://" + defaultSocket
	defaultDataDir = "/var/lib/orch"
	// callTimeout bounds a command that asks or writes and does not wait for an outcome.
	callTimeout = 30 * time.Second
)

// app is what the commands of one run share.
type app struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string

	hostFlag string
}

// host is the API endpoint: --host, else ORCH_HOST, else the local daemon.
func (a *app) host() string {
	if a.hostFlag != "" {
		return a.hostFlag
	}
	if h := a.env("ORCH_HOST"); h != "" {
		return h
	}
	return defaultHost
}

// client is for commands that need a daemon. It connects to nothing yet: the version is negotiated with the first call.
func (a *app) client() (*client.Client, error) {
	if err := a.checkDefaultHost(); err != nil {
		return nil, err
	}
	return a.connect()
}

func (a *app) connect() (*client.Client, error) {
	cli, err := client.NewClientWithOpts(client.WithTLSClientConfigFromEnv(), client.WithHost(a.host()),
		client.WithAPIVersionNegotiation(), client.WithUserAgent("orch/"+version))
	if err != nil {
		return nil, usagef("host %q: %w", a.host(), err)
	}
	return cli, nil
}

// checkDefaultHost keeps people who have DOCKER_HOST set from wondering: orch does not follow it by itself, since `orch rm`
// against the wrong cluster cannot be taken back.
func (a *app) checkDefaultHost() error {
	if a.host() != defaultHost || a.env("DOCKER_HOST") == "" {
		return nil
	}
	if _, err := os.Stat(defaultSocket); !os.IsNotExist(err) {
		return nil
	}
	return fmt.Errorf("no orch daemon on this machine (%s does not exist)\n"+
		"DOCKER_HOST is set, but orch does not follow it by itself. To use that endpoint: export ORCH_HOST=$DOCKER_HOST\n"+
		"To start a cluster on this machine: orch init", defaultSocket)
}

// call wraps a command that talks to the API and does not wait for an outcome.
func (a *app) call(f func(ctx context.Context, cli *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return a.stream(func(ctx context.Context, cli *client.Client, args []string) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return f(ctx, cli, args)
	})
}

// stream wraps a command that may take as long as it likes; Ctrl-C ends it.
func (a *app) stream(f func(ctx context.Context, cli *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cli, err := a.client()
		if err != nil {
			return err
		}
		defer cli.Close()
		return f(cmd.Context(), cli, args)
	}
}

// terminal is the file descriptor of w when it is a terminal.
func terminal(w any) (fd int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile {
		return 0, false
	}
	return int(f.Fd()), term.IsTerminal(int(f.Fd()))
}

// colours says whether output to w may be coloured (https://no-color.org).
func (a *app) colours(w io.Writer) bool {
	_, tty := terminal(w)
	return tty && a.env("NO_COLOR") == "" && a.env("TERM") != "dumb"
}
