package orchestrator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"orch/internal/store"
	"orch/internal/strategy"
)

func labelled(replicas uint64, labels map[string]string) *store.Service {
	s := updatable(replicas, swarm.UpdateConfig{Parallelism: 1, Monitor: time.Second, Order: swarm.UpdateOrderStartFirst})
	s.Spec.Labels = labels
	return s
}

// rotation counts by image what names and ports lead to.
func (c *cluster) rotation() map[string]int {
	count := map[string]int{}
	for _, t := range c.running("web") {
		if !t.Standby {
			count[t.Spec.ContainerSpec.Image]++
		}
	}
	return count
}

func TestCanaryIsHeldUntilPromoted(t *testing.T) {
	simulate(t, 2, func(c *cluster) {
		c.put(labelled(5, map[string]string{strategy.LabelCanary: "2"}))
		c.run(time.Second)
		c.image("web", "v2")
		c.run(time.Hour)
		if diff := cmp.Diff(map[string]int{"v1": 3, "v2": 2}, c.images()); diff != "" {
			t.Error(diff)
		}
		if got := c.status(); got != "updating: held: 2 of 5 tasks updated; `orch promote web` goes on" {
			t.Error(got)
		}
		before := c.writes
		c.due = map[string]time.Time{"web": time.Now()} // another leader
		c.run(time.Hour)
		if c.writes != before {
			t.Errorf("a held update is written %d times", c.writes-before)
		}
		c.update(func(tx *store.Tx) { // as the API does
			s := *tx.Service("web")
			r := *s.Rollout
			r.Promoted = true
			s.Rollout = &r
			tx.Put(&s)
		})
		c.run(time.Minute)
		if diff := cmp.Diff(map[string]int{"v2": 5}, c.images()); diff != "" {
			t.Error(diff)
		}
		if got := c.status(); got != "completed: update completed" {
			t.Error(got)
		}
	})
}

func TestCanaryGoesOnAfterItsTime(t *testing.T) {
	simulate(t, 2, func(c *cluster) {
		c.put(labelled(4, map[string]string{strategy.LabelCanary: "1", strategy.LabelHold: "10m"}))
		c.run(time.Second)
		c.image("web", "v2")
		c.run(9 * time.Minute)
		if diff := cmp.Diff(map[string]int{"v1": 3, "v2": 1}, c.images()); diff != "" {
			t.Error(diff)
		}
		if got := c.status(); !strings.HasPrefix(got, "updating: held: 1 of 4 tasks updated; `orch promote web` goes on before 20") {
			t.Error(got)
		}
		c.run(2 * time.Minute)
		if got := c.status(); got != "completed: update completed" {
			t.Error(got)
		}
		if diff := cmp.Diff(map[string]int{"v2": 4}, c.images()); diff != "" {
			t.Error(diff)
		}
	})
}

// A canary that fails at any time of its hold takes the update back, though the
// service's failure action is to pause.
func TestCanaryReturnsOnFailure(t *testing.T) {
	for _, after := range []time.Duration{0, 30 * time.Minute} {
		simulate(t, 2, func(c *cluster) {
			c.put(labelled(4, map[string]string{strategy.LabelCanary: "1"}))
			c.run(time.Second)
			c.fate = func(t *store.Task) (swarm.TaskState, time.Duration) {
				if t.Spec.ContainerSpec.Image == "v2" && t.Status.State == swarm.TaskStateRunning {
					return swarm.TaskStateFailed, after
				}
				return "", 0
			}
			c.image("web", "v2")
			c.run(time.Hour)
			if got := c.status(); got != "rollback_completed: rollback completed" {
				t.Error(got)
			}
			if diff := cmp.Diff(map[string]int{"v1": 4}, c.images()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBlueGreenSwitchesAllAtOnce(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		s := labelled(4, map[string]string{strategy.LabelBlueGreen: "true"})
		s.Spec.UpdateConfig.Monitor = 10 * time.Second
		c.put(s)
		c.run(time.Second)
		c.fate = func(t *store.Task) (swarm.TaskState, time.Duration) { // each is healthy a second after the one before
			if t.Spec.ContainerSpec.Image == "v2" && t.Status.State == swarm.TaskStateReady && t.DesiredState == swarm.TaskStateRunning {
				return swarm.TaskStateRunning, time.Duration(t.Slot) * time.Second
			}
			return "", 0
		}
		c.checkup = func() {
			if r := c.rotation(); len(r) != 1 || r["v1"] != 4 && r["v2"] != 4 {
				t.Errorf("in rotation: %v", r)
			}
		}
		c.image("web", "v2")
		c.run(3900 * time.Millisecond)
		if diff := cmp.Diff(map[string]int{"v1": 4}, c.rotation()); diff != "" {
			t.Errorf("before all are healthy: %s", diff)
		}
		c.run(2 * time.Second)
		if diff := cmp.Diff(map[string]int{"v2": 4}, c.rotation()); diff != "" {
			t.Errorf("when all are healthy: %s", diff)
		}
		if diff := cmp.Diff(map[string]int{"v1": 4, "v2": 4}, c.images()); diff != "" {
			t.Errorf("while the new ones are watched: %s", diff)
		}
		c.run(time.Minute)
		if got := c.status(); got != "completed: update completed" {
			t.Error(got)
		}
		if diff := cmp.Diff(map[string]int{"v2": 4}, c.images()); diff != "" {
			t.Error(diff)
		}
	})
}

// Whenever a new task fails, the old ones, which still run, have the traffic.
func TestBlueGreenReturnsOnFailure(t *testing.T) {
	for name, fate := range map[string]func(*store.Task) (swarm.TaskState, time.Duration){
		"before the switch": func(t *store.Task) (swarm.TaskState, time.Duration) {
			if t.Slot == 2 && t.DesiredState == swarm.TaskStateRunning && t.Status.State == swarm.TaskStateReady {
				return swarm.TaskStateFailed, time.Second
			}
			return "", 0
		},
		"after the switch": func(t *store.Task) (swarm.TaskState, time.Duration) {
			if t.Slot == 2 && t.Status.State == swarm.TaskStateRunning {
				return swarm.TaskStateFailed, 3 * time.Second
			}
			return "", 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, 3, func(c *cluster) {
				s := labelled(4, map[string]string{strategy.LabelBlueGreen: "true"})
				s.Spec.UpdateConfig.Monitor = 10 * time.Second
				c.put(s)
				c.run(time.Second)
				c.fate = func(t *store.Task) (swarm.TaskState, time.Duration) {
					if t.Spec.ContainerSpec.Image == "v2" {
						return fate(t)
					}
					return "", 0
				}
				c.checkup = func() {
					if n := c.images()["v1"]; n != 4 {
						t.Errorf("%d old tasks run", n)
					}
					if r := c.rotation(); r["v1"] != 4 && r["v2"] < 3 {
						t.Errorf("in rotation: %v", r)
					}
				}
				c.image("web", "v2")
				c.run(time.Minute)
				if diff := cmp.Diff(map[string]int{"v1": 4}, c.rotation()); diff != "" {
					t.Error(diff)
				}
				if got := c.status(); got != "rollback_completed: rollback completed" {
					t.Error(got)
				}
				if n := len(c.running("web")); n != 4 {
					t.Errorf("%d tasks run: %v", n, shape(c.tasks("web")))
				}
			})
		})
	}
}

// A newer update starts over from what serves, and leaves nothing of the one
// that it supersedes.
func TestBlueGreenInterrupted(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		s := labelled(3, map[string]string{strategy.LabelBlueGreen: "true"})
		c.put(s)
		c.run(time.Second)
		c.fate = func(t *store.Task) (swarm.TaskState, time.Duration) {
			if t.Spec.ContainerSpec.Image == "v2" && t.Slot == 3 && t.Status.State == swarm.TaskStateReady {
				return swarm.TaskStateRunning, time.Hour
			}
			return "", 0
		}
		c.checkup = func() {
			if r := c.rotation(); len(r) != 1 {
				t.Errorf("in rotation: %v", r)
			}
		}
		c.image("web", "v2")
		c.run(time.Minute)
		if diff := cmp.Diff(map[string]int{"v1": 3}, c.rotation()); diff != "" {
			t.Error(diff)
		}
		c.image("web", "v3")
		c.run(time.Minute)
		if diff := cmp.Diff(map[string]int{"v3": 3}, c.rotation()); diff != "" {
			t.Error(diff)
		}
		if n := len(c.running("web")); n != 3 {
			t.Errorf("%d tasks run: %v", n, shape(c.tasks("web")))
		}
		if got := c.status(); got != "completed: update completed" {
			t.Error(got)
		}
	})
}
