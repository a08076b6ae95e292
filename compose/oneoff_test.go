package compose

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"orch/internal/extra"
)

func webService(t *testing.T) swarm.Service {
	t.Helper()
	p, err := load(t, `
services:
  web:
    image: a
    command: [serve]
    environment: {A: "1", B: "2"}
    ports: ["80:80"]
    healthcheck: {test: [CMD, x]}
    privileged: true
    pre_stop: [{command: [leave]}]
    deploy: {replicas: 3, placement: {max_replicas_per_node: 1, constraints: [node.role==worker]}}
`)
	if err != nil {
		t.Fatal(err)
	}
	stack, err := Convert(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return swarm.Service{ID: "web", Spec: stack.Services[0].Spec}
}

func TestOneOffIsTheServiceWithoutItsPlace(t *testing.T) {
	s := webService(t)
	before := clone(s.Spec)
	spec, err := OneOff{Command: []string{"migrate"}, Env: []string{"B=3", "C=4"}, Stdin: true, Node: "n1"}.Spec(s)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, s.Spec); d != "" {
		t.Errorf("the service itself was changed:\n%s", d)
	}
	c := spec.TaskTemplate.ContainerSpec
	e, err := extra.FromLabels(c.Labels)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{
		"args": c.Args, "env": c.Env, "check": c.Healthcheck.Test, "constraints": spec.TaskTemplate.Placement.Constraints, "max": spec.TaskTemplate.Placement.MaxReplicas,
		"restart": spec.TaskTemplate.RestartPolicy.Condition, "aliases": len(spec.TaskTemplate.Networks[0].Aliases), "ports": spec.EndpointSpec == nil,
		"of": spec.Labels[LabelRun], "stack": spec.Labels[LabelNamespace], "hooks": len(e.PreStop), "privileged": e.Privileged, "stdinOnce": e.StdinOnce,
		"completions": *spec.Mode.ReplicatedJob.TotalCompletions,
	}
	want := map[string]any{
		"args": []string{"migrate"}, "env": []string{"A=1", "B=3", "C=4"}, "check": []string{"NONE"}, "constraints": []string{"node.role==worker", "node.id==n1"}, "max": uint64(0),
		"restart": swarm.RestartPolicyConditionNone, "aliases": 0, "ports": true,
		"of": s.Spec.Name, "stack": "", "hooks": 0, "privileged": true, "stdinOnce": true, "completions": uint64(1),
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	long := s
	long.Spec.Name = strings.Repeat("x", maxServiceName)
	if spec, err := (OneOff{}).Spec(long); err != nil || len(spec.Name) > maxServiceName {
		t.Errorf("name %q, %v", spec.Name, err)
	}
}

// oneOffCluster has a job whose task waits, runs for a second and ends, and a log that nothing ends.
type oneOffCluster struct {
	*cluster
	log string
}

func (c *oneOffCluster) TaskLogs(ctx context.Context, _ string, _ container.LogsOptions) (io.ReadCloser, error) {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	go func() { _, _ = w.Write([]byte{1, 0, 0, 0, 0, 0, 0, byte(len(c.log))}); _, _ = io.WriteString(w, c.log) }()
	return r, nil
}

func TestOneOffShowsOutputAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &oneOffCluster{newCluster(), "hello\n"}
		c.behave = func(s swarm.Service, age time.Duration) []swarm.Task {
			all := tasks(s, swarm.TaskStatePending, "no suitable node")
			switch {
			case age > 2*time.Second:
				all = tasks(s, swarm.TaskStateFailed, "task: non-zero exit (7)")
			case age > time.Second:
				all = tasks(s, swarm.TaskStateRunning, "")
			}
			return all
		}
		spec, err := OneOff{}.Spec(webService(t))
		if err != nil {
			t.Fatal(err)
		}
		job, err := Start(t.Context(), c, spec, "")
		if err != nil {
			t.Fatal(err)
		}
		var waited []string
		task, err := job.Await(t.Context(), Running, func(why string) { waited = append(waited, why) })
		if err != nil || !Running(task) || len(waited) != 1 || waited[0] != "no suitable node" {
			t.Fatalf("task %+v, %v, waited for %q", task, err, waited)
		}
		var out bytes.Buffer
		task, err = job.Output(t.Context(), task, &out, io.Discard)
		if err != nil || task.Status.State != swarm.TaskStateFailed || out.String() != "hello\n" {
			t.Errorf("task %s, %v, output %q", task.Status.State, err, &out)
		}
		if err := job.Remove(t.Context()); err != nil || len(c.services) != 0 {
			t.Errorf("%v; services %v", err, c.services)
		}
	})
}
