package compose

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/pkg/stdcopy"
)

const (
	// undoTimeout bounds taking a failed deploy back.
	undoTimeout = 2 * time.Minute
	// askTimeout bounds each question of a diagnosis, which must not keep the error from being shown.
	askTimeout = 3 * time.Second
	// logTail is how many of a failed task's last lines are shown.
	logTail = 10
	// maxLog bounds what is read for them.
	maxLog = 64 << 10
)

// undo takes back what this deploy changed and says what became of the stack. The first deploy of a stack is left for
// inspection: there is nothing to go back to.
func (r *rollout) undo(ctx context.Context) (text string, undone bool) {
	first := len(r.plan.have.services) == 0
	switch {
	case r.o.NoRollback:
		return "left as it is, as asked", false
	case first:
		return "first deploy, so it is left for inspection; remove the stack to start over", false
	}
	ctx, cancel := context.WithTimeoutCause(ctx, undoTimeout, errTimeout)
	defer cancel()
	services, _, err := r.look(ctx)
	if err != nil {
		return "not rolled back: " + err.Error(), false
	}
	var names []string
	for _, t := range r.services {
		now := find(services, t.Spec.Name)
		if !t.written || t.change.Action == Unchanged || now == nil {
			continue
		}
		if err := r.undoService(ctx, t, *now); err != nil {
			return fmt.Sprintf("not wholly rolled back: %v", err), false
		}
		names = append(names, t.Key)
	}
	if len(names) == 0 {
		r.undoRest(ctx)
		return "no service was changed", true
	}
	if err := r.awaitUndone(ctx); err != nil {
		return "rolled back " + strings.Join(names, ", ") + "; not healthy yet: " + err.Error(), true
	}
	r.undoRest(ctx)
	return "rolled back " + strings.Join(names, ", "), true
}

// undoRest removes the networks, secrets and configs that this deploy made. What cannot be removed is not worth an error
// beside the one that is being shown: the next plan lists it.
func (r *rollout) undoRest(ctx context.Context) {
	made := &state{}
	for _, c := range r.plan.Changes {
		if c.Action != Create {
			continue
		}
		switch c.Kind {
		case KindNetwork:
			made.networks = append(made.networks, network.Summary{ID: c.Name, Name: c.Name})
		case KindSecret:
			made.secrets = append(made.secrets, swarm.Secret{ID: r.plan.have.secretID(c.Name), Spec: swarm.SecretSpec{Annotations: swarm.Annotations{Name: c.Name}}})
		case KindConfig:
			made.configs = append(made.configs, swarm.Config{ID: r.plan.have.configID(c.Name), Spec: swarm.ConfigSpec{Annotations: swarm.Annotations{Name: c.Name}}})
		}
	}
	_ = removeRest(ctx, r.cli, made, false, func(kind Kind, name string) {
		r.emit(Event{Kind: kind, Name: r.plan.want.Short(name), Action: Delete, Phase: Removed})
	})
}

func (r *rollout) undoService(ctx context.Context, t *tracked, now swarm.Service) error {
	if t.old == nil {
		if err := r.remove(ctx, now); err != nil {
			return err
		}
		t.written = false
		r.emit(Event{Kind: KindService, Name: t.Key, Action: Delete, Phase: Removed, Why: "rolled back"})
		return nil
	}
	if t.change.Action == Replace {
		if err := r.remove(ctx, now); err != nil {
			return err
		}
		_, err := r.cli.ServiceCreate(ctx, *t.old, swarm.ServiceCreateOptions{EncodedRegistryAuth: r.auth(*t.old)})
		return wrap(err, "create service "+t.Spec.Name)
	}
	// The server may have rolled back by itself, as its rollback configuration says.
	if len(serviceFields(now.Spec, *t.old, r.plan.have.networkNames())) == 0 {
		return nil
	}
	return r.update(ctx, now, *t.old)
}

// awaitUndone waits until the services that were taken back run as before.
func (r *rollout) awaitUndone(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	wake := watch(watching, r.cli)
	for _, t := range r.services {
		for id := range t.failed {
			r.before[id] = true // what failed before is what is being taken back
		}
		t.failed = map[string]swarm.Task{}
	}
	for {
		services, tasks, err := r.look(ctx)
		if err != nil && !temporary(err) {
			return err
		}
		waiting := ""
		for _, t := range r.services {
			if t.old == nil || t.change.Action == Unchanged || !t.written {
				continue
			}
			s := find(services, t.Spec.Name)
			if s == nil {
				waiting = t.Key
				continue
			}
			plain := *s
			plain.UpdateStatus = nil // it tells of the update that failed
			v := r.judge(t, &plain, tasks)
			if v.phase = Rolling; v.healthy {
				v.why = "rolled back"
			} else {
				waiting = t.Key
			}
			t.verdict = v
			r.show(t)
			if v.failure != "" {
				return fmt.Errorf("%s: %s", t.Key, v.failure)
			}
		}
		if waiting == "" && err == nil {
			return nil
		}
		if err := wake(ctx); err != nil {
			return fmt.Errorf("%s: %w", waiting, err)
		}
	}
}

// diagnose collects, for every service that is not as wanted, what a person would look for first.
func (r *rollout) diagnose(ctx context.Context) []Failure {
	_, tasks, err := r.look(ctx)
	if err != nil {
		tasks = nil // the verdicts of the last look still say what was wrong
	}
	var out []Failure
	anyFailed := r.any(func(t *tracked) bool { return t.verdict.phase == Failed })
	for _, t := range r.services {
		if t.verdict.phase == Done || anyFailed && t.verdict.phase != Failed {
			continue
		}
		f := Failure{Service: t.Key, Reason: cmp.Or(t.verdict.why, string(t.verdict.phase))}
		if task := r.culprit(t, tasks); task != nil {
			r.describe(ctx, &f, *task)
		}
		out = append(out, f)
	}
	return out
}

// culprit is the task that shows best what is wrong: the last that failed, else one that is not running.
func (r *rollout) culprit(t *tracked, tasks []swarm.Task) *swarm.Task {
	if t.verdict.task != nil {
		return t.verdict.task
	}
	if last := newest(t.failed); last != nil {
		return last
	}
	for i := range tasks {
		if tasks[i].ServiceID == t.id && tasks[i].Status.State != swarm.TaskStateRunning && !ended(tasks[i].DesiredState) {
			return &tasks[i]
		}
	}
	return nil
}

func (r *rollout) describe(ctx context.Context, f *Failure, task swarm.Task) {
	f.Task = fmt.Sprintf("%s.%d.%s", f.Service, task.Slot, task.ID)
	for _, n := range r.nodes {
		if n.ID == task.NodeID {
			f.Node = n.Description.Hostname
		}
	}
	if c := task.Status.ContainerStatus; c != nil && c.ContainerID != "" {
		f.Health = r.lastHealth(ctx, c.ContainerID)
	}
	tty := task.Spec.ContainerSpec != nil && task.Spec.ContainerSpec.TTY
	f.Logs = r.lastLines(ctx, task.ID, tty)
}

// lastHealth is the output of a container's last health check, when the container is still there and on this node.
func (r *rollout) lastHealth(ctx context.Context, id string) string {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	c, err := r.cli.ContainerInspect(ctx, id)
	if err != nil || c.ContainerJSONBase == nil || c.State == nil || c.State.Health == nil || len(c.State.Health.Log) == 0 {
		return ""
	}
	last := c.State.Health.Log[len(c.State.Health.Log)-1]
	return strings.TrimSuffix(strings.TrimSpace(fmt.Sprintf("exit %d: %s", last.ExitCode, last.Output)), ":")
}

func (r *rollout) lastLines(ctx context.Context, task string, tty bool) []string {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	stream, err := r.cli.TaskLogs(ctx, task, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: fmt.Sprint(logTail)})
	if err != nil {
		return nil
	}
	defer stream.Close()
	var text bytes.Buffer
	if in := io.LimitReader(stream, maxLog); tty {
		_, _ = io.Copy(&text, in) // what has been read until an error is still worth showing
	} else {
		_, _ = stdcopy.StdCopy(&text, &text, in)
	}
	lines := strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
	if len(lines) == 1 && lines[0] == "" {
		return nil
	}
	return lines[max(len(lines)-logTail, 0):]
}
