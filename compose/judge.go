package compose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/swarm"
)

const (
	// rejectedLimit is after how many tasks that never started for the same reason a deploy gives up: an image that
	// cannot be pulled or a mount that does not exist will not get better.
	rejectedLimit = 3
	// failedLimit is the same for tasks that ran and died. It leaves room for services that fail a few times until what
	// they need is there.
	failedLimit = 5
)

// look is what is known about one service at one moment.
type look struct {
	spec    swarm.ServiceSpec
	update  *swarm.UpdateStatus // of this deploy's update; nil for a service that it left alone
	job     *swarm.JobStatus
	oneShot bool                  // done when completed, not when running
	tasks   []swarm.Task          // up to date with spec
	failed  map[string]swarm.Task // every task that was seen to fail since the deploy began, by id
	nodes   int                   // ready and active
	closed  string                // why no node can open a port that the service publishes
	settled func(swarm.Task) bool // has been running for long enough to count
}

// verdict is what a look means.
type verdict struct {
	phase            Phase
	running, desired int
	started          bool // every task has been started, healthy or not
	healthy          bool // every task is running and healthy, or has completed
	completed        bool // every task has completed
	gaveUp           bool // nothing runs, nothing is to run, and not all is done
	why              string
	failure          string // why the service cannot become healthy; "" while it can
	task             *swarm.Task
}

// judge is pure: from the tasks to a verdict.
func judge(l look) verdict {
	v := verdict{desired: desired(l)}
	var started, completed int
	counted := map[string]bool{}
	for _, t := range l.tasks {
		slot := slotOf(t)
		switch {
		case l.job != nil && (t.JobIteration == nil || t.JobIteration.Index != l.job.JobIteration.Index), counted[slot]:
		case t.Status.State == swarm.TaskStateComplete && finishes(l):
			counted[slot] = true
			completed++
			started++
		case ended(t.DesiredState) && t.DesiredState != swarm.TaskStateComplete:
		case l.job != nil:
			if t.Status.State == swarm.TaskStateRunning || t.Status.State == swarm.TaskStateStarting {
				started++
			}
		case t.Status.State == swarm.TaskStateRunning:
			counted[slot] = true
			started++
			if l.settled(t) && !l.oneShot {
				v.running++
			}
		case t.Status.State == swarm.TaskStateStarting:
			started++
		}
	}
	v.running += completed
	v.started, v.healthy, v.completed = started >= v.desired, v.running >= v.desired, completed >= v.desired
	v.gaveUp = !v.completed && len(l.tasks) > 0 && !slices.ContainsFunc(l.tasks, func(t swarm.Task) bool {
		return !ended(t.Status.State) && !ended(t.DesiredState)
	})
	v.failure, v.task = failure(l)
	updating := l.update != nil && l.update.State == swarm.UpdateStateUpdating
	switch {
	case v.failure != "":
		v.phase, v.why, v.healthy = Failed, v.failure, false
	case l.update != nil && strings.HasPrefix(string(l.update.State), "rollback"):
		v.phase, v.why = Rolling, l.update.Message
	case v.healthy && !updating:
		v.phase = Done
	case held(l.update):
		v.phase, v.why, v.started, v.healthy = Done, l.update.Message, true, true
	case updating:
		v.phase, v.why = Updating, stuck(l)
		if v.healthy && v.why == "" {
			v.why = "watching the new tasks"
		}
	default:
		v.phase, v.why = Starting, stuck(l)
	}
	return v
}

// desired is how many tasks make the service complete.
func desired(l look) int {
	switch m := l.spec.Mode; {
	case m.Replicated != nil && m.Replicated.Replicas != nil:
		return int(*m.Replicated.Replicas)
	case m.ReplicatedJob != nil && m.ReplicatedJob.TotalCompletions != nil:
		return int(*m.ReplicatedJob.TotalCompletions)
	case m.Global != nil, m.GlobalJob != nil:
		nodes := map[string]bool{}
		for _, t := range l.tasks {
			if !ended(t.DesiredState) || t.Status.State == swarm.TaskStateComplete {
				nodes[t.NodeID] = true
			}
		}
		if p := l.spec.TaskTemplate.Placement; len(nodes) == 0 || p == nil || len(p.Constraints)+len(p.Platforms) == 0 {
			return max(l.nodes, len(nodes), 1) // before the tasks are there, and wherever no node is left out
		}
		return len(nodes)
	}
	return 1
}

// finishes reports whether a task that has completed is as it should be.
func finishes(l look) bool {
	p := l.spec.TaskTemplate.RestartPolicy
	return l.oneShot || p != nil && (p.Condition == swarm.RestartPolicyConditionNone || p.Condition == swarm.RestartPolicyConditionOnFailure)
}

// slotOf identifies what a task is one of: a slot, or a node for a global service.
func slotOf(t swarm.Task) string {
	if t.Slot != 0 {
		return fmt.Sprint(t.Slot)
	}
	if t.JobIteration != nil {
		return t.ID // slot 0 of a job is not told apart from a global job's
	}
	return t.NodeID
}

// failure says why the service will not become healthy by waiting.
func failure(l look) (string, *swarm.Task) {
	if l.closed != "" {
		return l.closed, nil
	}
	last := newest(l.failed)
	if l.update != nil {
		switch l.update.State {
		case swarm.UpdateStatePaused, swarm.UpdateStateRollbackStarted, swarm.UpdateStateRollbackPaused, swarm.UpdateStateRollbackCompleted:
			text := l.update.Message
			if last != nil {
				text += ": " + problem(*last)
			}
			return text, last
		}
	}
	if last == nil {
		return "", nil
	}
	perSlot, perError := map[string]uint64{}, map[string]int{}
	for _, t := range l.failed {
		perSlot[slotOf(t)]++
		perError[problem(t)]++
	}
	policy := l.spec.TaskTemplate.RestartPolicy
	limit := failedLimit
	if last.Status.State == swarm.TaskStateRejected {
		limit = rejectedLimit
	}
	switch {
	case policy != nil && policy.Condition == swarm.RestartPolicyConditionNone:
		return problem(*last), last
	case policy != nil && policy.MaxAttempts != nil && *policy.MaxAttempts > 0 && perSlot[slotOf(*last)] > *policy.MaxAttempts:
		return fmt.Sprintf("%s (gave up after %d restarts)", problem(*last), *policy.MaxAttempts), last
	case perError[problem(*last)] >= limit:
		return fmt.Sprintf("%s (%d times)", problem(*last), perError[problem(*last)]), last
	}
	return "", nil
}

func newest(tasks map[string]swarm.Task) *swarm.Task {
	var last *swarm.Task
	for _, t := range tasks {
		if last == nil || t.Status.Timestamp.After(last.Status.Timestamp) || t.Status.Timestamp.Equal(last.Status.Timestamp) && t.ID > last.ID {
			last = &t
		}
	}
	return last
}

// problem is a failed task's error.
func problem(t swarm.Task) string {
	if t.Status.State == swarm.TaskStateComplete {
		return "its process ended, and the service is not a job"
	}
	return cmp.Or(t.Status.Err, t.Status.Message, string(t.Status.State))
}

// bad reports a task that counts as a failure of its service.
func bad(l look, t swarm.Task) bool {
	switch t.Status.State {
	case swarm.TaskStateFailed, swarm.TaskStateRejected:
		return true
	case swarm.TaskStateComplete:
		return !finishes(l) && l.job == nil
	}
	return false
}

// stuck says what the service is waiting for, from the task that is furthest behind.
func stuck(l look) string {
	order := []swarm.TaskState{swarm.TaskStateNew, swarm.TaskStateAllocated, swarm.TaskStatePending, swarm.TaskStateAssigned, swarm.TaskStateAccepted,
		swarm.TaskStatePreparing, swarm.TaskStateReady, swarm.TaskStateStarting}
	behind := -1
	var at *swarm.Task
	for _, t := range l.tasks {
		if i := slices.Index(order, t.Status.State); i >= 0 && !ended(t.DesiredState) && (at == nil || i < behind || i == behind && t.Slot < at.Slot) {
			behind, at = i, &t
		}
	}
	last := newest(l.failed)
	switch {
	case at == nil && last != nil:
		return "restarting after: " + problem(*last)
	case at == nil:
		return ""
	case at.Status.Err != "":
		return at.Status.Err
	case last != nil && at.Status.State != swarm.TaskStateStarting:
		return "restarting after: " + problem(*last)
	case at.Status.State == swarm.TaskStateStarting && l.spec.TaskTemplate.ContainerSpec != nil && l.spec.TaskTemplate.ContainerSpec.Healthcheck != nil:
		return "waiting for its health check"
	}
	return string(at.Status.State)
}

// waitsFor names the dependency that keeps a service from being deployed, or "". A dependency that is not part of the
// deploy is none.
func waitsFor(deps types.DependsOnConfig, verdicts map[string]verdict) string {
	var names []string
	for name := range deps {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		v, known := verdicts[name]
		if !known {
			continue
		}
		switch deps[name].Condition {
		case types.ServiceConditionHealthy:
			if !v.healthy {
				return "waiting for " + name + " to be healthy"
			}
		case types.ServiceConditionCompletedSuccessfully:
			if !v.completed {
				return "waiting for " + name + " to complete"
			}
		default:
			if !v.started && !v.healthy {
				return "waiting for " + name + " to start"
			}
		}
	}
	return ""
}
