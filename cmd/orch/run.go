package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"orch/compose"
)

const (
	// exitNoStart is docker run's code for a container that could not be started, so that it is not taken for the command's.
	exitNoStart = 125
	// removeTimeout bounds taking a one-off task away at the end.
	removeTimeout = 10 * time.Second
)

// oneOffRun is the flags of `orch run`.
type oneOffRun struct {
	compose.OneOff
	entrypoint string
	remove     bool
	detach     bool
}

func (a *app) runCmd() *cobra.Command {
	var r oneOffRun
	cmd := &cobra.Command{Use: "run [--rm] STACK/SERVICE [COMMAND [ARG...]]", Short: "Run a one-off task of a service, with its own command, and return its exit code",
		Long: "Run a one-off task of a service in the cluster: the service's image, environment, networks, secrets, configs, volumes and limits, with\n" +
			"another command. It has no name on the networks, no published ports, no health check, and is not restarted. Its output is shown, its exit\n" +
			"code returned (125 when it could not start), and Ctrl-C removes it. With -i or -t it runs on the machine that answers.",
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeRun}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().BoolVar(&r.remove, "rm", false, "remove the task when it has ended")
	cmd.Flags().BoolVarP(&r.detach, "detach", "d", false, "print the one-off service's name and do not wait")
	cmd.Flags().BoolVarP(&r.Stdin, "interactive", "i", false, "pass standard input on")
	cmd.Flags().BoolVarP(&r.TTY, "tty", "t", false, "give the command a terminal")
	cmd.Flags().StringArrayVarP(&r.Env, "env", "e", nil, "set an environment `VARIABLE=VALUE`; without a value, that of this shell")
	cmd.Flags().StringVarP(&r.User, "user", "u", "", "run as `USER[:GROUP]`")
	cmd.Flags().StringVarP(&r.Dir, "workdir", "w", "", "run in `DIRECTORY`")
	cmd.Flags().StringVar(&r.entrypoint, "entrypoint", "", "use `PROGRAM` instead of the service's or image's entrypoint")
	cmd.MarkFlagsMutuallyExclusive("rm", "detach")
	cmd.MarkFlagsMutuallyExclusive("interactive", "detach")
	cmd.RunE = a.stream(func(ctx context.Context, cli *client.Client, args []string) error {
		r.Command = args[1:]
		if r.entrypoint != "" {
			r.Entrypoint = []string{r.entrypoint}
		}
		if _, ok := terminal(a.in); r.TTY && r.Stdin && !ok {
			return usagef("standard input is not a terminal: leave -t out")
		}
		for i, kv := range r.Env {
			if !strings.Contains(kv, "=") {
				r.Env[i] = kv + "=" + a.env(kv)
			}
		}
		return a.runOneOff(ctx, cli, args[0], r)
	})
	return cmd
}

func (a *app) runOneOff(ctx context.Context, cli *client.Client, ref string, r oneOffRun) error {
	asking, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	n, err := readNames(asking, cli)
	if err != nil {
		return err
	}
	s, err := n.find(strings.Replace(ref, "/", "_", 1))
	if err != nil {
		return err
	}
	attach := r.Stdin || r.TTY
	if attach {
		info, err := cli.Info(asking)
		if err != nil {
			return err
		}
		r.Node = info.Swarm.NodeID // its container can be attached to from there alone
	}
	spec, err := r.Spec(s)
	if err != nil {
		return err
	}
	job, err := compose.Start(asking, cli, spec, a.registryAuth(spec.TaskTemplate.ContainerSpec.Image))
	if err != nil {
		return err
	}
	if r.detach {
		fmt.Fprintln(a.out, job.Name)
		return nil
	}
	task, err := a.watchOneOff(ctx, cli, job, attach, r.Stdin)
	if r.remove || ctx.Err() != nil {
		removing, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
		defer cancel()
		if removeErr := job.Remove(removing); removeErr != nil && err == nil {
			err = removeErr
		}
	}
	if ctx.Err() != nil {
		return codeError{exitInterrupted, fmt.Errorf("interrupted: %s is removed", job.Name)}
	}
	if err != nil {
		return err
	}
	return taskResult(task)
}

// watchOneOff shows a one-off task's output until it ends.
func (a *app) watchOneOff(ctx context.Context, cli *client.Client, job compose.Job, attach, stdin bool) (swarm.Task, error) {
	task, err := job.Await(ctx, compose.Running, func(why string) { fmt.Fprintln(a.err, "waiting: "+why) })
	switch {
	case err != nil:
		return task, err
	case !attach || !compose.Running(task):
		return job.Output(ctx, task, a.out, a.err)
	}
	if err := a.attach(ctx, cli, task, stdin); err != nil {
		return task, err
	}
	return job.Await(ctx, func(swarm.Task) bool { return false }, func(string) {})
}

// attach connects the terminal with a task's container until that ends. What it has written before is shown too.
func (a *app) attach(ctx context.Context, cli *client.Client, task swarm.Task, stdin bool) error {
	id, tty := task.Status.ContainerStatus.ContainerID, task.Spec.ContainerSpec.TTY
	conn, err := cli.ContainerAttach(ctx, id, container.AttachOptions{Stream: true, Stdin: stdin, Stdout: true, Stderr: true, Logs: true})
	if err != nil {
		return fmt.Errorf("attach to the task: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, conn.Close)
	defer stop()
	if fd, ok := terminal(a.in); ok && tty && stdin {
		old, err := term.MakeRaw(fd)
		if err != nil {
			return fmt.Errorf("set the terminal up: %w", err)
		}
		defer term.Restore(fd, old)
		defer a.followSize(ctx, func(ctx context.Context, o container.ResizeOptions) error { return cli.ContainerResize(ctx, id, o) })()
	}
	if err := a.copyStreams(conn, stdin, tty); err != nil && ctx.Err() == nil {
		return err
	}
	return ctx.Err()
}

// taskResult makes an ended task's exit code that of the program.
func taskResult(t swarm.Task) error {
	code := 0
	if c := t.Status.ContainerStatus; c != nil {
		code = c.ExitCode
	}
	switch {
	case t.Status.State == swarm.TaskStateComplete:
		return nil
	case code != 0:
		return codeError{code: code}
	}
	return codeError{exitNoStart, fmt.Errorf("the task did not run to its end: %s", t.Status.Err)}
}

// completeRun offers STACK/SERVICE.
func (a *app) completeRun(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return a.candidates(cmd.Context(), func(s swarm.Service) []string {
		if stack := s.Spec.Labels[stackLabel]; stack != "" {
			return []string{stack + "/" + strings.TrimPrefix(s.Spec.Name, stack+"_")}
		}
		return []string{s.Spec.Name}
	})
}
