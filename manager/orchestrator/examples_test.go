package orchestrator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// The examples of Docker's documentation of services, and what it says of them.
// Sources: docs.docker.com, "Apply rolling updates to a service" (tutorial), "Deploy services to a swarm", and the
// reference of `docker service update`.
func TestExamplesOfDockersDocumentation(t *testing.T) {
	type moment struct {
		at      time.Duration // since the update
		updated int           // tasks that run with the new spec
		status  string        // how the status begins; "" to not look
	}
	force := func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ }
	image := func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Image = "v2" }
	failing := func(slots ...int) func(*store.Task) (swarm.TaskState, time.Duration) {
		return func(t *store.Task) (swarm.TaskState, time.Duration) {
			for _, s := range slots {
				if t.Rolled && t.Slot == s && t.Status.State == swarm.TaskStateRunning {
					return swarm.TaskStateFailed, 100 * time.Millisecond
				}
			}
			return "", 0
		}
	}
	tests := []struct {
		name     string
		replicas uint64
		config   *swarm.UpdateConfig
		rollback *swarm.UpdateConfig
		change   func(*swarm.ServiceSpec)
		fate     func(*store.Task) (swarm.TaskState, time.Duration)
		again    bool // the change is followed by a manual rollback, of which the moments tell
		moments  []moment
	}{
		{
			name: "redis, --update-delay 10s: one task at a time, ten seconds between two", replicas: 3,
			config: &swarm.UpdateConfig{Parallelism: 1, Delay: 10 * time.Second}, change: image,
			moments: []moment{{5 * time.Second, 1, "updating"}, {15 * time.Second, 2, "updating"}, {25 * time.Second, 3, "updating"}, {45 * time.Second, 3, "completed: update completed"}},
		},
		{
			name: "if a task returns FAILED, pause the update", replicas: 3,
			config: &swarm.UpdateConfig{Parallelism: 1, Delay: 10 * time.Second}, change: image, fate: failing(1),
			moments: []moment{{time.Minute, -1, "paused: update paused due to failure or early termination of task "}},
		},
		{
			name: "my_web, ten replicas, two at a time, --update-failure-action continue", replicas: 10,
			config: &swarm.UpdateConfig{Parallelism: 2, Delay: 10 * time.Second, FailureAction: swarm.UpdateFailureActionContinue}, change: image, fate: failing(1, 2, 3),
			moments: []moment{{2 * time.Minute, -1, "completed: update completed"}},
		},
		{
			name: "my_web, two at a time", replicas: 10,
			config: &swarm.UpdateConfig{Parallelism: 2, Delay: 10 * time.Second}, change: image,
			moments: []moment{{5 * time.Second, 2, "updating"}, {15 * time.Second, 4, "updating"}, {26 * time.Second, 6, "updating"}},
		},
		{
			name: "--force --update-parallelism 1 --update-delay 30s: a rolling restart", replicas: 3,
			config: &swarm.UpdateConfig{Parallelism: 1, Delay: 30 * time.Second}, change: force,
			moments: []moment{{20 * time.Second, 1, "updating"}, {40 * time.Second, 2, "updating"}, {80 * time.Second, 3, "updating"}, {130 * time.Second, 3, "completed"}},
		},
		{
			name: "--update-parallelism 0: all at once", replicas: 5,
			config: &swarm.UpdateConfig{Parallelism: 0}, change: image,
			moments: []moment{{2 * time.Second, 5, "updating"}, {10 * time.Second, 5, "completed"}},
		},
		{
			name: "my_redis, --rollback-parallelism 2 --rollback-monitor 20s --rollback-max-failure-ratio .2: one of five may fail", replicas: 5, again: true,
			rollback: &swarm.UpdateConfig{Parallelism: 2, Monitor: 20 * time.Second, MaxFailureRatio: .2}, change: image, fate: failing(3),
			moments: []moment{{10 * time.Second, -1, "rollback_started: manually requested rollback"}, {time.Minute, -1, "rollback_completed: rollback completed"}},
		},
		{
			name: "my_redis: two of five may not", replicas: 5, again: true,
			rollback: &swarm.UpdateConfig{Parallelism: 2, Monitor: 20 * time.Second, MaxFailureRatio: .2}, change: image, fate: failing(3, 4),
			moments: []moment{{time.Minute, -1, "rollback_paused: update paused due to failure or early termination of task "}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			simulate(t, 3, func(c *cluster) {
				s := newService("web", tt.replicas)
				s.Spec.UpdateConfig, s.Spec.RollbackConfig = tt.config, tt.rollback
				c.put(s)
				c.run(time.Second)
				version := uint64(2)
				if tt.again {
					c.change("web", tt.change)
					c.run(2 * time.Minute)
					c.rollback("web")
					version++
				} else {
					c.change("web", tt.change)
				}
				c.fate = tt.fate
				begin := time.Now()
				for _, m := range tt.moments {
					c.run(m.at - time.Since(begin))
					n := 0
					for _, task := range c.running("web") {
						if task.SpecVersion == version {
							n++
						}
					}
					if m.updated >= 0 && n != m.updated {
						t.Errorf("after %s %d tasks are updated, want %d", m.at, n, m.updated)
					}
					if got := c.status(); !strings.HasPrefix(got, m.status) {
						t.Errorf("after %s the status is %q, want %q", m.at, got, m.status)
					}
				}
			})
		})
	}
}

// "To restart a paused update, run docker service update": without any change.
func TestAnyUpdateResumesAPausedOne(t *testing.T) {
	simulate(t, 1, func(c *cluster) {
		c.put(updatable(3, swarm.UpdateConfig{Parallelism: 1, Monitor: time.Second}))
		c.run(time.Second)
		c.fate = breaks("v2")
		c.image("web", "v2")
		c.run(time.Minute)
		if got := c.status(); !strings.HasPrefix(got, "paused") {
			t.Fatal(got)
		}
		c.fate = nil // what was wrong outside of the service is right now
		c.change("web", func(*swarm.ServiceSpec) {})
		c.run(time.Minute)
		if got := c.status(); got != "completed: update completed" {
			t.Error(got)
		}
		if n := c.images()["v2"]; n != 3 {
			t.Errorf("%d of 3 tasks are updated", n)
		}
	})
}

// A pause on request and what follows it, as the API does it: everything stays
// where it is, and then goes on.
func TestPausedOnRequestAndResumed(t *testing.T) {
	simulate(t, 1, func(c *cluster) {
		c.put(updatable(6, swarm.UpdateConfig{Parallelism: 1, Monitor: time.Second, Delay: 2 * time.Second}))
		c.run(time.Second)
		c.image("web", "v2")
		c.run(3 * time.Second)
		state := func(to swarm.UpdateState) {
			c.update(func(tx *store.Tx) {
				s := *tx.Service("web")
				u := *s.UpdateStatus
				u.State = to
				s.UpdateStatus = &u
				tx.Put(&s)
			})
		}
		state(swarm.UpdateStatePaused)
		c.run(5 * time.Second)
		before := c.images()
		c.run(time.Hour)
		if after := c.images(); after["v2"] != before["v2"] || after["v1"]+after["v2"] != 6 || after["v1"] == 0 {
			t.Errorf("%v run while the update is paused, before %v", after, before)
		}
		state(swarm.UpdateStateUpdating)
		c.run(time.Minute)
		if got := c.status(); got != "completed: update completed" || c.images()["v2"] != 6 {
			t.Errorf("%s %v", got, c.images())
		}
	})
}
