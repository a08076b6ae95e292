package orchestrator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"orch/internal/store"
)

// rejects makes the tasks of an image fail while they are prepared, as with an
// image that cannot be pulled.
func rejects(image string) func(*store.Task) (swarm.TaskState, time.Duration) {
	return func(t *store.Task) (swarm.TaskState, time.Duration) {
		if t.Spec.ContainerSpec.Image == image && store.Rank(t.Status.State) < store.Rank(swarm.TaskStateReady) {
			return swarm.TaskStateRejected, 100 * time.Millisecond
		}
		return "", 0
	}
}

// An image that cannot be had takes nothing down, unless the update is to stop
// first and continue whatever happens.
func TestImageThatCannotBeHad(t *testing.T) {
	for _, order := range []string{swarm.UpdateOrderStopFirst, swarm.UpdateOrderStartFirst} {
		for _, tt := range []struct {
			action  string
			restart swarm.RestartPolicyCondition
			status  string
			old     int
		}{
			{swarm.UpdateFailureActionPause, swarm.RestartPolicyConditionAny, "paused: ", 4},
			{swarm.UpdateFailureActionRollback, swarm.RestartPolicyConditionAny, "rollback_completed: ", 4},
			{swarm.UpdateFailureActionPause, swarm.RestartPolicyConditionNone, "paused: ", 4},
			{swarm.UpdateFailureActionContinue, swarm.RestartPolicyConditionAny, "completed: ", 0},
			{swarm.UpdateFailureActionContinue, swarm.RestartPolicyConditionNone, "completed: ", 0},
		} {
			if order == swarm.UpdateOrderStartFirst {
				tt.old = 4 // who waits for a successor that never runs stays
			}
			t.Run(fmt.Sprintf("%s, %s, restart %s", order, tt.action, tt.restart), func(t *testing.T) {
				simulate(t, 2, func(c *cluster) {
					s := updatable(4, swarm.UpdateConfig{Parallelism: 1, Monitor: time.Second, FailureAction: tt.action, Order: order})
					s.Spec.RollbackConfig = s.Spec.UpdateConfig
					delay := 5 * time.Second
					s.Spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: tt.restart, Delay: &delay}
					c.put(s)
					c.run(10 * time.Second)
					c.fate = rejects("nosuch")
					if tt.old == 4 {
						c.checkup = func() {
							if n := c.images()["v1"]; n < 4 {
								t.Errorf("only %d old tasks run", n)
							}
						}
					}
					c.image("web", "nosuch")
					before := c.writes
					c.run(2 * time.Minute)
					if n := c.writes - before; n > 600 {
						t.Errorf("%d passes", n)
					}
					if got := c.status(); !strings.HasPrefix(got, tt.status) {
						t.Error(got)
					}
					if n := c.images()["v1"]; n != tt.old {
						t.Errorf("%d old tasks run, want %d: %v", n, tt.old, shape(c.tasks("web")))
					}
				})
			})
		}
	}
}

// An update on three nodes leaves its tasks as evenly spread as it found them,
// though the new ones are made while the old ones run.
func TestUpdateKeepsTasksSpread(t *testing.T) {
	for _, order := range []string{swarm.UpdateOrderStopFirst, swarm.UpdateOrderStartFirst} {
		simulate(t, 3, func(c *cluster) {
			c.put(updatable(6, swarm.UpdateConfig{Parallelism: 1, Monitor: time.Second, Order: order}))
			c.run(time.Second)
			for i := range 3 {
				c.image("web", fmt.Sprintf("v%d", i+2))
				c.run(time.Minute)
			}
			on := map[string]int{}
			for _, task := range c.running("web") {
				on[task.NodeID]++
			}
			if diff := cmp.Diff(map[string]int{"n1": 2, "n2": 2, "n3": 2}, on); diff != "" {
				t.Errorf("%s: %s", order, diff)
			}
		})
	}
}

// Where a node has room for one task only, stop-first stops the old one first.
func TestStopFirstWithoutRoomForBoth(t *testing.T) {
	simulate(t, 2, func(c *cluster) {
		s := updatable(2, swarm.UpdateConfig{Parallelism: 1, Monitor: time.Second})
		s.Spec.TaskTemplate.Resources = &swarm.ResourceRequirements{Reservations: &swarm.Resources{NanoCPUs: 3e9}}
		s.Spec.TaskTemplate.Placement = &swarm.Placement{MaxReplicas: 1}
		c.put(s)
		c.run(time.Second)
		c.checkup = func() {
			if n := len(c.running("web")); n < 1 {
				t.Errorf("%d tasks run", n)
			}
		}
		c.image("web", "v2")
		c.run(time.Minute)
		if got := c.status(); got != "completed: update completed" || c.images()["v2"] != 2 {
			t.Errorf("%s %v", got, shape(c.tasks("web")))
		}
	})
}
