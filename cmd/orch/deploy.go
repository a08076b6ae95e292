package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/client"
	"github.com/spf13/cobra"

	"orch/compose"
	"orch/compose/progress"
)

// deployment is the flags of deploy and plan.
type deployment struct {
	files      composeFlags
	prune      bool
	detach     bool
	dryRun     bool
	json       bool
	noBuild    bool
	build      bool
	noRollback bool
	timeout    time.Duration
	message    string
}

// outcomeFlags say how to wait for a deploy and what to do when it fails.
func (d *deployment) outcomeFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&d.detach, "detach", "d", false, "do not wait until everything is healthy")
	cmd.Flags().BoolVar(&d.json, "json", false, "with --dry-run: as JSON; else the result as JSON")
	cmd.Flags().BoolVar(&d.noRollback, "no-rollback", false, "leave a failed deploy as it is")
	cmd.Flags().DurationVar(&d.timeout, "timeout", compose.DefaultTimeout, "how long to wait until everything is healthy")
	cmd.Flags().StringVarP(&d.message, "message", "m", "", "a `TEXT` for the stack's history")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if d.timeout <= 0 {
			return usagef("--timeout %s: must be more than nothing", d.timeout)
		}
		return nil
	}
}

func (a *app) deployCmd() *cobra.Command {
	var d deployment
	cmd := &cobra.Command{Use: "deploy [-c FILE]... [STACK]", Short: "Build and roll out compose files, and wait until everything is healthy", Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeStacks,
		Long: "Build and roll out compose files, and wait until everything is healthy. The stack's name is the argument, else `name:` of the\n" +
			"file, else its directory's name. Ctrl-C stops the watching, not the rollout.\n\n" +
			"Exit codes: 0 deployed and healthy, 1 failed, 2 wrong usage (with --dry-run: there are changes), 3 deployed but not healthy in time."}
	d.files.add(cmd)
	cmd.Flags().BoolVar(&d.prune, "prune", false, "remove what the stack has and the files have not")
	d.outcomeFlags(cmd)
	cmd.Flags().BoolVar(&d.dryRun, "dry-run", false, "only show what would change, as `orch plan` does")
	cmd.Flags().BoolVar(&d.build, "build", true, "build the images of services with `build:`")
	cmd.Flags().BoolVar(&d.noBuild, "no-build", false, "use images that were built before")
	cmd.MarkFlagsMutuallyExclusive("build", "no-build")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withPlan(cmd.Context(), d, args, func(cli *client.Client, p *compose.Plan) error {
			if d.dryRun {
				return a.showPlan(p, d.json)
			}
			return a.apply(cmd.Context(), cli, p, d)
		})
	}
	return cmd
}

func (a *app) planCmd() *cobra.Command {
	d := deployment{dryRun: true}
	cmd := &cobra.Command{Use: "plan [-c FILE]... [STACK]", Short: "Show what deploy would change", Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeStacks,
		Long: "Show what deploy would change. It builds nothing and writes nothing.\n\nExit codes: 0 no changes, 1 failed, 2 changes."}
	d.files.add(cmd)
	cmd.Flags().BoolVar(&d.prune, "prune", false, "show what --prune would remove, too")
	cmd.Flags().BoolVar(&d.json, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withPlan(cmd.Context(), d, args, func(_ *client.Client, p *compose.Plan) error { return a.showPlan(p, d.json) })
	}
	return cmd
}

// withPlan loads, builds and compares, and hands the difference on.
func (a *app) withPlan(ctx context.Context, d deployment, args []string, use func(*client.Client, *compose.Plan) error) error {
	project, err := a.project(ctx, d.files, args)
	if err != nil {
		return err
	}
	cli, err := a.client()
	if err != nil {
		return err
	}
	defer cli.Close()
	images, err := a.images(ctx, cli, project, d)
	if err != nil {
		return err
	}
	stack, err := compose.Convert(project, images)
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	plan, err := compose.NewPlan(asking, cli, stack, compose.PlanOptions{Prune: d.prune})
	if err != nil {
		return err
	}
	a.warn(plan.Warnings)
	return use(cli, plan)
}

func (a *app) images(ctx context.Context, cli *client.Client, p *compose.Project, d deployment) (compose.Images, error) {
	if d.noBuild || !d.build || d.dryRun {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return compose.LocalImages(ctx, cli, p)
	}
	return compose.Build(ctx, cli, p, compose.BuildOptions{Output: func(service, line string) {
		fmt.Fprintln(a.err, colourOf(service).paint(service+" |", a.colours(a.err)), line)
	}})
}

// showPlan ends with Terraform's detailed exit code: 2 says that there are changes.
func (a *app) showPlan(p *compose.Plan, asJSON bool) error {
	write := p.WriteText
	if asJSON {
		write = p.WriteJSON
	}
	if err := write(a.out); err != nil || p.Empty() {
		return err
	}
	return codeError{code: exitUsage}
}

func (a *app) apply(ctx context.Context, cli *client.Client, p *compose.Plan, d deployment) error {
	show := progress.New(a.err)
	result, err := compose.Apply(ctx, cli, p, compose.Options{Timeout: d.timeout, Detach: d.detach, NoRollback: d.noRollback,
		RegistryAuth: a.registryAuth, By: a.deployer(), Message: d.message, Progress: show.Event})
	show.Close()
	interrupted := new(compose.InterruptedError)
	switch {
	case errors.As(err, &interrupted):
		return codeError{exitInterrupted, interruptedText(interrupted)}
	case errors.As(err, new(*compose.NotHealthyError)):
		return codeError{exitNotHealthy, err}
	case err != nil:
		return err
	case d.json:
		return writeJSON(a.out, result)
	case len(result.Changed) == 0 && p.Empty():
		fmt.Fprintf(a.out, "stack %s: unchanged\n", p.Stack)
	case result.Detached:
		fmt.Fprintf(a.out, "stack %s: rolling out (%s); `orch ps %s` shows how far it is\n", p.Stack, strings.Join(result.Changed, ", "), p.Stack)
	default:
		fmt.Fprintf(a.out, "stack %s: healthy after %s\n", p.Stack, result.Took.Round(100*time.Millisecond))
	}
	return nil
}

// interruptedText says what goes on without being watched, and what does not.
func interruptedText(e *compose.InterruptedError) error {
	text := fmt.Sprintf("no longer watching: what is written of stack %s goes on\n", e.Stack)
	if len(e.Pending) > 0 {
		text += fmt.Sprintf("not written yet, as they waited for others: %s; the same deploy again goes on with them\n", strings.Join(e.Pending, ", "))
	}
	return fmt.Errorf("%s`orch ps %s` shows how far it is, `orch rollback %s` goes back", text, e.Stack, e.Stack)
}
