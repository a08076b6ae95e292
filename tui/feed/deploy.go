package feed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"orch/compose"
	"orch/compose/progress"
	"orch/tui/logstream"
)

// planTimeout bounds reading a file and comparing it with the cluster.
const planTimeout = 30 * time.Second

// Deployment is a plan to look at, and to carry out then.
type Deployment struct {
	Stack string
	Lines []string
	Empty bool

	plan    *compose.Plan
	project *compose.Project
	message string
}

// PlanFile reads a compose file and says what deploying it would change. It builds and writes nothing.
func PlanFile(ctx context.Context, c Client, file string) (*Deployment, error) {
	ctx, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	project, err := compose.Load(ctx, compose.LoadOptions{Files: []string{file}})
	if err != nil {
		return nil, err
	}
	images, err := compose.LocalImages(ctx, c, project)
	if err != nil {
		return nil, err
	}
	plan, err := planOf(ctx, c, project, images)
	if err != nil {
		return nil, err
	}
	lines, err := planLines(plan)
	return &Deployment{Stack: plan.Stack, Lines: lines, Empty: plan.Empty(), plan: plan, project: project}, err
}

func planOf(ctx context.Context, c Client, p *compose.Project, images compose.Images) (*compose.Plan, error) {
	stack, err := compose.Convert(p, images)
	if err != nil {
		return nil, err
	}
	return compose.NewPlan(ctx, c, stack, compose.PlanOptions{})
}

// PlanRollback says what returning to a revision of a stack would change.
func PlanRollback(ctx context.Context, c Client, stack string, number int) (*Deployment, error) {
	ctx, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	plan, to, err := compose.NewRollback(ctx, c, stack, number)
	if err != nil {
		return nil, err
	}
	lines, err := planLines(plan)
	return &Deployment{Stack: stack, Lines: lines, Empty: plan.Empty(), plan: plan, message: fmt.Sprintf("rollback to revision %d", to.Number)}, err
}

// Deployer is what a deploy needs of its caller: who deploys, and credentials for registries.
type Deployer struct {
	By           string
	RegistryAuth func(image string) string
}

// Run carries a deployment out; its log is the progress. Closing the log ends the watching, not the rollout.
func (d *Deployment) Run(ctx context.Context, c Client, by Deployer) *Log {
	return Lines(ctx, func(ctx context.Context, out chan<- logstream.Line) error {
		plan := d.plan
		if d.project != nil {
			images, err := compose.Build(ctx, c, d.project, compose.BuildOptions{Output: func(service, line string) { say(ctx, out, service+" | "+line) }})
			if err != nil {
				return err
			}
			if plan, err = planOf(ctx, c, d.project, images); err != nil { // what was built may be another image than was planned with
				return err
			}
		}
		show := progress.NewPlain(lineWriter(func(line string) { say(ctx, out, line) }))
		result, err := compose.Apply(ctx, c, plan, compose.Options{By: by.By, Message: d.message, RegistryAuth: by.RegistryAuth, Progress: show.Event})
		switch {
		case errors.Is(err, context.Canceled):
			return nil
		case err != nil:
			for _, l := range strings.Split(err.Error(), "\n") {
				say(ctx, out, "✗ "+l)
			}
			return nil
		}
		say(ctx, out, fmt.Sprintf("✓ stack %s: healthy after %s", result.Stack, result.Took.Round(100*time.Millisecond)))
		return nil
	})
}

// lineWriter calls itself with every line that is written to it.
type lineWriter func(string)

func (w lineWriter) Write(p []byte) (int, error) {
	for l := range strings.Lines(string(p)) {
		w(strings.TrimRight(l, "\n"))
	}
	return len(p), nil
}
