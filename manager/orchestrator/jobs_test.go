package orchestrator_test

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

func newJob(concurrent, total uint64) *store.Service {
	s := newService("job", 0)
	s.Spec.Mode = swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: &concurrent, TotalCompletions: &total}}
	s.JobStatus = &swarm.JobStatus{}
	return s
}

func (c *cluster) completed(service string) (n int) {
	for _, t := range c.tasks(service) {
		if t.Status.State == swarm.TaskStateComplete && t.JobIteration.Index == c.service(service).JobStatus.JobIteration.Index {
			n++
		}
	}
	return n
}

// again runs a job once more, as an update of it does.
func (c *cluster) again(id string) {
	c.update(func(tx *store.Tx) {
		s := *tx.Service(id)
		s.SpecVersion++
		s.JobStatus = &swarm.JobStatus{JobIteration: swarm.Version{Index: s.JobStatus.JobIteration.Index + 1}}
		tx.Put(&s)
	})
}

func TestReplicatedJob(t *testing.T) {
	simulate(t, 2, func(c *cluster) {
		c.put(newJob(2, 5))
		c.checkup = func() {
			if n := len(c.running("job")); n > 2 {
				t.Errorf("%d run at once", n)
			}
		}
		c.run(2 * time.Second)
		if n := c.completed("job"); n != 2 {
			t.Errorf("%d completed in one round", n)
		}
		c.run(10 * time.Second)
		if n := c.completed("job"); n != 5 || len(c.tasks("job")) != 5 {
			t.Errorf("%d completed of %v", n, shape(c.tasks("job")))
		}
		if slot := c.tasks("job")[0].Slot; slot != 0 {
			t.Errorf("the first slot is %d", slot)
		}
		c.again("job")
		c.run(10 * time.Second)
		if n := c.completed("job"); n != 5 {
			t.Errorf("the second run completed %d", n)
		}
	})
}

func TestJobStartedAgainStopsTheFormerRun(t *testing.T) {
	simulate(t, 1, func(c *cluster) {
		c.put(newJob(2, 2))
		c.run(500 * time.Millisecond)
		c.again("job")
		c.run(5 * time.Second)
		if n := len(c.tasks("job")); n != 2 {
			t.Errorf("%d tasks: %v", n, shape(c.tasks("job")))
		}
	})
}

func TestFailedJobTasks(t *testing.T) {
	two := uint64(2)
	for _, tt := range []struct {
		name   string
		policy swarm.RestartPolicy
		tasks  int
		done   int
	}{
		{"are restarted", swarm.RestartPolicy{}, 4, 2},
		{"are given up", swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionNone}, 2, 0},
		{"are given up after some attempts", swarm.RestartPolicy{MaxAttempts: &two}, 4, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			simulate(t, 1, func(c *cluster) {
				job := newJob(2, 2)
				tt.policy.Delay = new(time.Duration)
				job.Spec.TaskTemplate.RestartPolicy = &tt.policy
				// The first attempt at each slot fails.
				c.fate = func(t *store.Task) (swarm.TaskState, time.Duration) {
					if t.Replaces == "" && t.Status.State == swarm.TaskStateRunning {
						return swarm.TaskStateFailed, time.Second
					}
					return "", 0
				}
				c.put(job)
				c.run(time.Minute)
				if n := len(c.tasks("job")); n != tt.tasks || c.completed("job") != tt.done {
					t.Errorf("%d completed: %v", c.completed("job"), shape(c.tasks("job")))
				}
			})
		})
	}
}

func TestGlobalJob(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		job := newJob(1, 1)
		job.Spec.Mode = swarm.ServiceMode{GlobalJob: &swarm.GlobalJob{}}
		c.node("n3", func(n *store.Node) { n.Spec.Availability = swarm.NodeAvailabilityPause })
		c.put(job)
		c.run(5 * time.Second)
		if n := c.completed("job"); n != 2 {
			t.Errorf("%d completed: %v", n, shape(c.tasks("job")))
		}
		c.node("n3", func(n *store.Node) { n.Spec.Availability = swarm.NodeAvailabilityActive })
		c.run(5 * time.Second)
		if n := c.completed("job"); n != 3 || len(c.tasks("job")) != 3 {
			t.Errorf("%d completed: %v", n, shape(c.tasks("job")))
		}
	})
}
