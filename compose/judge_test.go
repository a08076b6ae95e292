package compose

import (
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
)

func ptr[T any](v T) *T { return &v }

func replicated(n uint64, policy *swarm.RestartPolicy) swarm.ServiceSpec {
	return swarm.ServiceSpec{
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}},
		TaskTemplate: swarm.TaskSpec{RestartPolicy: policy, ContainerSpec: &swarm.ContainerSpec{Healthcheck: &container.HealthConfig{}}},
	}
}

func task(slot int, desired, state swarm.TaskState, err string) swarm.Task {
	return swarm.Task{Slot: slot, DesiredState: desired, Status: swarm.TaskStatus{State: state, Err: err}}
}

func failedTasks(n int, state swarm.TaskState, err string) map[string]swarm.Task {
	failed := map[string]swarm.Task{}
	for i := range n {
		t := task(1, swarm.TaskStateShutdown, state, err)
		t.ID, t.Status.Timestamp = string(rune('a'+i)), time.Unix(int64(i), 0)
		failed[t.ID] = t
	}
	return failed
}

func TestJudge(t *testing.T) {
	const run, down = swarm.TaskStateRunning, swarm.TaskStateShutdown
	never := &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionNone}
	job := swarm.ServiceSpec{Mode: swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{TotalCompletions: ptr(uint64(2))}}}
	iteration := func(n uint64) *swarm.Version { return &swarm.Version{Index: n} }
	jobTask := func(id string, n uint64) swarm.Task {
		x := task(0, swarm.TaskStateComplete, swarm.TaskStateComplete, "")
		x.ID, x.JobIteration = id, iteration(n)
		return x
	}
	for _, c := range []struct {
		name    string
		look    look
		phase   Phase
		running int
		why     string
	}{
		{"all running", look{spec: replicated(2, nil), tasks: []swarm.Task{task(1, run, run, ""), task(2, run, run, "")}}, Done, 2, ""},
		{"published on no node", look{spec: replicated(1, nil), tasks: []swarm.Task{task(1, run, run, "")}, closed: "n1: port 80/tcp is in use"}, Failed, 1, "n1: port 80/tcp is in use"},
		{"scaled to nothing", look{spec: replicated(0, nil)}, Done, 0, ""},
		{"one starts", look{spec: replicated(2, nil), tasks: []swarm.Task{task(1, run, run, ""), task(2, run, swarm.TaskStateStarting, "")}}, Starting, 1, "waiting for its health check"},
		{"fits nowhere", look{spec: replicated(1, nil), tasks: []swarm.Task{task(1, run, swarm.TaskStatePending, "no suitable node")}}, Starting, 0, "no suitable node"},
		{"a slot counts once", look{spec: replicated(2, nil), tasks: []swarm.Task{task(1, run, run, ""), task(1, run, run, "")}}, Starting, 1, ""},
		{"on its way out", look{spec: replicated(1, nil), tasks: []swarm.Task{task(1, down, run, "")}}, Starting, 0, ""},
		{"monitored", look{spec: replicated(1, nil), tasks: []swarm.Task{task(1, run, run, "")}, update: &swarm.UpdateStatus{State: swarm.UpdateStateUpdating}}, Updating, 1, "watching the new tasks"},
		{"update completed", look{spec: replicated(1, nil), tasks: []swarm.Task{task(1, run, run, "")}, update: &swarm.UpdateStatus{State: swarm.UpdateStateCompleted}}, Done, 1, ""},
		{"update paused", look{spec: replicated(1, nil), update: &swarm.UpdateStatus{State: swarm.UpdateStatePaused, Message: "paused"}}, Failed, 0, "paused"},
		{"rolled back", look{spec: replicated(1, nil), tasks: []swarm.Task{task(1, run, run, "")}, update: &swarm.UpdateStatus{State: swarm.UpdateStateRollbackCompleted, Message: "back"},
			failed: failedTasks(1, swarm.TaskStateFailed, "exit 1")}, Failed, 1, "back: exit 1"},
		{"fails and may recover", look{spec: replicated(1, nil), failed: failedTasks(4, swarm.TaskStateFailed, "exit 1")}, Starting, 0, "restarting after: exit 1"},
		{"fails for good", look{spec: replicated(1, nil), failed: failedTasks(5, swarm.TaskStateFailed, "exit 1")}, Failed, 0, "exit 1 (5 times)"},
		{"rejected for good", look{spec: replicated(1, nil), failed: failedTasks(3, swarm.TaskStateRejected, "no image")}, Failed, 0, "no image (3 times)"},
		{"never restarted", look{spec: replicated(1, never), failed: failedTasks(1, swarm.TaskStateFailed, "exit 1")}, Failed, 0, "exit 1"},
		{"restarts used up", look{spec: replicated(1, &swarm.RestartPolicy{MaxAttempts: ptr(uint64(1))}), failed: failedTasks(2, swarm.TaskStateFailed, "exit 1")}, Failed, 0, "exit 1 (gave up after 1 restarts)"},
		{"ended as it may", look{spec: replicated(1, never), tasks: []swarm.Task{task(1, down, swarm.TaskStateComplete, "")}}, Done, 1, ""},
		{"one-shot still runs", look{spec: replicated(1, never), oneShot: true, tasks: []swarm.Task{task(1, run, run, "")}}, Starting, 0, ""},
		{"job of this iteration", look{spec: job, job: &swarm.JobStatus{JobIteration: *iteration(2)}, oneShot: true, tasks: []swarm.Task{jobTask("a", 2), jobTask("b", 2), jobTask("c", 1)}}, Done, 2, ""},
		{"job of an older one", look{spec: job, job: &swarm.JobStatus{JobIteration: *iteration(2)}, oneShot: true, tasks: []swarm.Task{jobTask("a", 1), jobTask("b", 1)}}, Starting, 0, ""},
		{"global", look{spec: swarm.ServiceSpec{Mode: swarm.ServiceMode{Global: &swarm.GlobalService{}}}, nodes: 2, tasks: []swarm.Task{{NodeID: "1", DesiredState: run, Status: swarm.TaskStatus{State: run}}}}, Starting, 1, ""},
	} {
		c.look.settled = func(swarm.Task) bool { return true }
		v := judge(c.look)
		if v.phase != c.phase || v.running != c.running || v.why != c.why {
			t.Errorf("%s: %s %d/%d %q, want %s %d %q", c.name, v.phase, v.running, v.desired, v.why, c.phase, c.running, c.why)
		}
	}
}

func TestWaitsFor(t *testing.T) {
	deps := func(condition string) types.DependsOnConfig {
		return types.DependsOnConfig{"db": {Condition: condition}, "elsewhere": {Condition: types.ServiceConditionHealthy}}
	}
	for _, c := range []struct {
		condition string
		verdict   verdict
		want      string
	}{
		{types.ServiceConditionStarted, verdict{}, "waiting for db to start"},
		{types.ServiceConditionStarted, verdict{started: true}, ""},
		{types.ServiceConditionHealthy, verdict{started: true}, "waiting for db to be healthy"},
		{types.ServiceConditionHealthy, verdict{started: true, healthy: true}, ""},
		{types.ServiceConditionCompletedSuccessfully, verdict{started: true, healthy: true}, "waiting for db to complete"},
		{types.ServiceConditionCompletedSuccessfully, verdict{completed: true}, ""},
	} {
		if got := waitsFor(deps(c.condition), map[string]verdict{"db": c.verdict}); got != c.want {
			t.Errorf("%s with %+v: %q, want %q", c.condition, c.verdict, got, c.want)
		}
	}
}
