package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func (a *app) execCmd() *cobra.Command {
	var o container.ExecOptions
	cmd := &cobra.Command{Use: "exec SERVICE[.SLOT] COMMAND [ARG...]", Short: "Run a command in a task's container, on any node", Args: cobra.MinimumNArgs(2), ValidArgsFunction: a.completeServices}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().BoolVarP(&o.AttachStdin, "interactive", "i", false, "pass standard input on")
	cmd.Flags().BoolVarP(&o.Tty, "tty", "t", false, "give the command a terminal")
	cmd.Flags().StringArrayVarP(&o.Env, "env", "e", nil, "set an environment `VARIABLE=VALUE`")
	cmd.Flags().StringVarP(&o.User, "user", "u", "", "run as `USER[:GROUP]`")
	cmd.Flags().StringVarP(&o.WorkingDir, "workdir", "w", "", "run in `DIRECTORY`")
	cmd.Flags().BoolVar(&o.Privileged, "privileged", false, "give the command extended privileges")
	cmd.RunE = a.stream(func(ctx context.Context, cli *client.Client, args []string) error {
		o.Cmd, o.AttachStdout, o.AttachStderr = args[1:], true, true
		if _, ok := terminal(a.in); o.Tty && o.AttachStdin && !ok {
			return usagef("standard input is not a terminal: leave -t out")
		}
		id, err := runningContainer(ctx, cli, args[0])
		if err != nil {
			return err
		}
		code, err := a.exec(ctx, cli, id, o)
		if err == nil && code != 0 {
			return codeError{code: code}
		}
		return err
	})
	return cmd
}

// runningContainer is the container of the first running task that ref can mean. orch passes calls on to the task's node; of a Docker
// Swarm only the containers of the engine's own machine can be reached.
func runningContainer(ctx context.Context, cli *client.Client, ref string) (string, error) {
	tasks, err := runningTasks(ctx, cli, ref)
	if err != nil {
		return "", err
	}
	for _, t := range tasks {
		_, err = cli.ContainerInspect(ctx, t.Status.ContainerStatus.ContainerID)
		if err == nil {
			return t.Status.ContainerStatus.ContainerID, nil
		}
		if !errdefs.IsNotFound(err) {
			return "", err
		}
	}
	return "", fmt.Errorf("%s runs on another machine than the one of this API: run this on node %s", ref, tasks[0].NodeID)
}

// exec runs the command and returns its exit code.
func (a *app) exec(ctx context.Context, cli *client.Client, id string, o container.ExecOptions) (int, error) {
	if fd, ok := terminal(a.out); ok && o.Tty {
		o.ConsoleSize = consoleSize(fd)
	}
	created, err := cli.ContainerExecCreate(ctx, id, o)
	if err != nil {
		return 0, fmt.Errorf("create the command: %w", err)
	}
	conn, err := cli.ContainerExecAttach(ctx, created.ID, container.ExecAttachOptions{Tty: o.Tty, ConsoleSize: o.ConsoleSize})
	if err != nil {
		return 0, fmt.Errorf("start the command: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, conn.Close)
	defer stop()
	if fd, ok := terminal(a.in); ok && o.Tty && o.AttachStdin {
		// Raw: Ctrl-C and the like belong to the command.
		old, err := term.MakeRaw(fd)
		if err != nil {
			return 0, fmt.Errorf("set the terminal up: %w", err)
		}
		defer term.Restore(fd, old)
		defer a.followSize(ctx, func(ctx context.Context, o container.ResizeOptions) error {
			return cli.ContainerExecResize(ctx, created.ID, o)
		})()
	}
	if err := a.copyStreams(conn, o.AttachStdin, o.Tty); err != nil && ctx.Err() == nil {
		return 0, err
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	result, err := cli.ContainerExecInspect(ctx, created.ID)
	if err != nil {
		return 0, fmt.Errorf("ask for the command's exit code: %w", err)
	}
	return result.ExitCode, nil
}

// copyStreams returns when the command's output ends; input may still wait for a key then, and nobody needs it.
func (a *app) copyStreams(conn types.HijackedResponse, stdin, tty bool) error {
	if stdin {
		go func() {
			_, _ = io.Copy(conn.Conn, a.in)
			_ = conn.CloseWrite()
		}()
	}
	var err error
	if tty {
		_, err = io.Copy(a.out, conn.Reader)
	} else {
		_, err = stdcopy.StdCopy(a.out, a.err, conn.Reader)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// followSize passes changes of the terminal's size on until the returned function is called.
func (a *app) followSize(ctx context.Context, resize func(context.Context, container.ResizeOptions) error) (stop func()) {
	fd, ok := terminal(a.out)
	if !ok {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	go func() {
		defer signal.Stop(changed)
		for {
			if size := consoleSize(fd); size != nil {
				// A size that could not be set is not worth ending the session for.
				_ = resize(ctx, container.ResizeOptions{Height: size[0], Width: size[1]})
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return cancel
}

func consoleSize(fd int) *[2]uint {
	w, h, err := term.GetSize(fd)
	if err != nil || w <= 0 || h <= 0 {
		return nil
	}
	return &[2]uint{uint(h), uint(w)}
}
