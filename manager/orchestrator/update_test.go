package orchestrator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"orch/internal/store"
	"orch/manager/orchestrator"
)

// breaks makes the tasks of an image fail before they come to run, as with a
// health check that never passes.
func breaks(image string) func(*store.Task) (swarm.TaskState, time.Duration) {
	return func(t *store.Task) (swarm.TaskState, time.Duration) {
		if t.Spec.ContainerSpec.Image == image && t.Status.State == swarm.TaskStateReady && t.DesiredState == swarm.TaskStateRunning {
			return swarm.TaskStateFailed, 100 * time.Millisecond
		}
		return "", 0
	}
}

func updatable(replicas uint64, c swarm.UpdateConfig) *store.Service {
	s := newService("web", replicas)
	s.Spec.UpdateConfig = &c
	return s
}

// images counts the running tasks by image.
func (c *cluster) images() map[string]int {
	count := map[string]int{}
	for _, t := range c.running("web") {
		count[t.Spec.ContainerSpec.Image]++
	}
	return count
}

func (c *cluster) status() string {
	u := c.service("web").UpdateStatus
	if u == nil {
		return "none"
	}
	return fmt.Sprintf("%s: %s", u.State, u.Message)
}

func TestUpdateStopFirst(t *testing.T) {
	simulate(t, 1, func(c *cluster) {
		c.put(updatable(3, swarm.UpdateConfig{Parallelism: 1, Monitor: time.Second}))
		c.run(time.Second)
		c.image("web", "v2")
		c.settle()
		// The first slot's new task is prepared before anything stops, and the next one's with it.
		want := []string{"1 v1 running/running", "1 v2 ready/assigned", "2 v1 running/running", "2 v2 ready/assigned", "3 v1 running/running"}
		if diff := cmp.Diff(want, shape(c.tasks("web"))); diff != "" {
			t.Error(diff)
		}
		if got := c.status(); got != "updating: update in progress" {
			t.Error(got)
		}
		// 0.3 s to stop and 0.2 s to start each.
		c.run(600 * time.Millisecond)
		if diff := cmp.Diff(map[string]int{"v1": 1, "v2": 1}, c.images()); diff != "" {
			t.Error(diff)
		}
		c.run(time.Second)
		if diff := cmp.Diff(map[string]int{"v2": 3}, c.images()); diff != "" {
			t.Error(diff)
		}
		if got := c.status(); got != "updating: update in progress" {
			t.Errorf("while the last task is monitored: %s", got)
		}
		c.run(time.Second)
		if got := c.status(); got != "completed: update completed" {
			t.Error(got)
		}
	})
}

func TestUpdateStartFirst(t *testing.T) {
	simulate(t, 1, func(c *cluster) {
		c.put(updatable(10, swarm.UpdateConfig{Parallelism: 2, Monitor: time.Second, Order: swarm.UpdateOrderStartFirst}))
		c.run(time.Second)
		c.checkup = func() {
			if n := len(c.running("web")); n < 10 {
				t.Errorf("only %d tasks run", n)
			}
		}
		c.image("web", "v2")
		c.settle()
		starting := 0
		for _, line := range shape(c.tasks("web")) {
			if strings.Contains(line, "v2 running/assigned") {
				starting++
			}
		}
		if starting != 2 {
			t.Errorf("%d tasks start at once", starting)
		}
		// Five rounds of 0.2 s, and a second of monitoring.
		c.run(2100 * time.Millisecond)
		if got := c.status(); got != "completed: update completed" {
			t.Error(got)
		}
	})
}

func TestUpdateDelay(t *testing.T) {
	simulate(t, 1, func(c *cluster) {
		c.put(updatable(2, swarm.UpdateConfig{Parallelism: 1, Monitor: time.Second, Delay: 10 * time.Second}))
		c.run(time.Second)
		c.image("web", "v2")
		c.run(10 * time.Second)
		if diff := cmp.Diff(map[string]int{"v1": 1, "v2": 1}, c.images()); diff != "" {
			t.Error(diff)
		}
		c.run(time.Second)
		if diff := cmp.Diff(map[string]int{"v2": 2}, c.images()); diff != "" {
			t.Error(diff)
		}
		// The second slot's delay, and as it is longer than the monitored time
		// a second more than it.
		c.run(20 * time.Second)
		if got := c.status(); got != "updating: update in progress" {
			t.Error(got)
		}
		c.run(time.Second)
		if got := c.status(); got != "completed: update completed" {
			t.Error(got)
		}
	})
}

func TestUpdatePausesAndResumes(t *testing.T) {
	simulate(t, 1, func(c *cluster) {
		c.put(updatable(3, swarm.UpdateConfig{Parallelism: 1}))
		c.run(time.Second)
		c.fate = breaks("bad")
		c.image("web", "bad")
		c.run(time.Minute)
		if got := c.status(); !strings.HasPrefix(got, "paused: update paused due to failure or early termination of task ") {
			t.Error(got)
		}
		if diff := cmp.Diff(2, c.images()["v1"]); diff != "" {
			t.Errorf("the rest still runs: %s", diff)
		}
		c.image("web", "v3")
		c.run(time.Minute)
		if got := c.status(); got != "completed: update completed" {
			t.Error(got)
		}
		if diff := cmp.Diff(map[string]int{"v3": 3}, c.images()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestUpdateContinuesDespiteFailures(t *testing.T) {
	simulate(t, 1, func(c *cluster) {
		c.put(updatable(3, swarm.UpdateConfig{Parallelism: 1, Monitor: time.Second, FailureAction: swarm.UpdateFailureActionContinue}))
		c.run(time.Second)
		c.fate = breaks("bad")
		c.image("web", "bad")
		c.run(20 * time.Second)
		if got := c.status(); got != "completed: update completed" {
			t.Error(got)
		}
	})
}

func TestUpdateRollsBack(t *testing.T) {
	for _, order := range []string{swarm.UpdateOrderStopFirst, swarm.UpdateOrderStartFirst} {
		t.Run(order, func(t *testing.T) {
			simulate(t, 2, func(c *cluster) {
				s := updatable(4, swarm.UpdateConfig{Parallelism: 2, FailureAction: swarm.UpdateFailureActionRollback, Order: order})
				s.Spec.RollbackConfig = &swarm.UpdateConfig{Parallelism: 1, Monitor: time.Second, Order: order}
				c.put(s)
				c.run(time.Second)
				c.fate = breaks("bad")
				least := 4
				c.checkup = func() { least = min(least, c.images()["v1"]) }
				c.image("web", "bad")
				c.run(time.Second)
				// Where the old tasks still run there is nothing left to roll back.
				if got := c.status(); order == swarm.UpdateOrderStopFirst && !strings.HasPrefix(got, "rollback_started: update rolled back due to failure or early termination of task ") {
					t.Error(got)
				}
				c.run(time.Minute)
				if got := c.status(); got != "rollback_completed: rollback completed" {
					t.Error(got)
				}
				if diff := cmp.Diff(map[string]int{"v1": 4}, c.images()); diff != "" {
					t.Error(diff)
				}
				if c.service("web").PreviousSpec != nil {
					t.Error("there is one level of previous spec only")
				}
				if want := map[string]int{swarm.UpdateOrderStopFirst: 2, swarm.UpdateOrderStartFirst: 4}[order]; least < want {
					t.Errorf("%d good tasks ran at the least, want %d", least, want)
				}
			})
		})
	}
}

func TestFailedRollbackPauses(t *testing.T) {
	for action, message := range map[string]string{
		"":                                "rollback_paused: update paused due to failure or early termination of task ",
		swarm.UpdateFailureActionRollback: "rollback_paused: rollback paused due to failure or early termination of task ",
	} {
		simulate(t, 1, func(c *cluster) {
			s := updatable(2, swarm.UpdateConfig{Parallelism: 1, FailureAction: swarm.UpdateFailureActionRollback})
			s.Spec.RollbackConfig = &swarm.UpdateConfig{Parallelism: 1, FailureAction: action}
			c.put(s)
			c.run(time.Second)
			c.fate = func(t *store.Task) (swarm.TaskState, time.Duration) {
				if t.SpecVersion > 1 && t.Status.State == swarm.TaskStateRunning {
					return swarm.TaskStateFailed, 0
				}
				return "", 0
			}
			c.image("web", "v2")
			c.run(time.Minute)
			if got := c.status(); !strings.HasPrefix(got, message) {
				t.Error(got)
			}
		})
	}
}

func TestFailureRatioAndMonitor(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ratio  float32
		broken int // slots whose new task fails
		after  time.Duration
		paused bool
	}{
		{"one of four is tolerated", 0.25, 1, 0, false},
		{"two of four are not", 0.25, 2, 0, true},
		{"none is tolerated by default", 0, 1, 0, true},
		{"later than monitored", 0, 4, 3 * time.Second, false},
		{"within the monitored time", 0, 1, 1900 * time.Millisecond, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			simulate(t, 1, func(c *cluster) {
				c.put(updatable(4, swarm.UpdateConfig{Parallelism: 1, Monitor: 2 * time.Second, MaxFailureRatio: tt.ratio}))
				c.run(time.Second)
				c.fate = func(t *store.Task) (swarm.TaskState, time.Duration) {
					if t.Rolled && t.Slot <= tt.broken && t.Status.State == swarm.TaskStateRunning {
						return swarm.TaskStateFailed, tt.after
					}
					return "", 0
				}
				c.image("web", "v2")
				c.run(time.Minute)
				if paused := strings.HasPrefix(c.status(), "paused"); paused != tt.paused {
					t.Error(c.status())
				}
			})
		})
	}
}

func TestManualRollback(t *testing.T) {
	simulate(t, 1, func(c *cluster) {
		c.put(updatable(2, swarm.UpdateConfig{Parallelism: 1, Monitor: time.Second}))
		c.run(time.Second)
		c.image("web", "v2")
		c.run(time.Minute)
		c.rollback("web")
		c.run(time.Minute)
		if got := c.status(); got != "rollback_completed: rollback completed" {
			t.Error(got)
		}
		if diff := cmp.Diff(map[string]int{"v1": 2}, c.images()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSupersedingUpdateTakesOver(t *testing.T) {
	for _, order := range []string{swarm.UpdateOrderStopFirst, swarm.UpdateOrderStartFirst} {
		simulate(t, 1, func(c *cluster) {
			c.put(updatable(4, swarm.UpdateConfig{Parallelism: 1, Monitor: time.Second, Order: order}))
			c.run(time.Second)
			c.checkup = func() {
				if n := len(c.running("web")); n < 3 {
					t.Errorf("%s: only %d run: %v", order, n, shape(c.tasks("web")))
				}
			}
			c.image("web", "v2")
			c.run(600 * time.Millisecond)
			c.image("web", "v3")
			c.run(time.Minute)
			if diff := cmp.Diff(map[string]int{"v3": 4}, c.images()); diff != "" {
				t.Errorf("%s: %s", order, diff)
			}
			if got := c.status(); got != "completed: update completed" {
				t.Error(got)
			}
		})
	}
}

func TestNeedlessChangesRestartNothing(t *testing.T) {
	for name, change := range map[string]func(*swarm.ServiceSpec){
		"scale":          func(s *swarm.ServiceSpec) { n := uint64(3); s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &n} },
		"service labels": func(s *swarm.ServiceSpec) { s.Labels = map[string]string{"a": "b"} },
		"update config":  func(s *swarm.ServiceSpec) { s.UpdateConfig = &swarm.UpdateConfig{Parallelism: 7} },
		"preferences": func(s *swarm.ServiceSpec) {
			s.TaskTemplate.Placement = &swarm.Placement{Preferences: []swarm.PlacementPreference{{Spread: &swarm.SpreadOver{SpreadDescriptor: "node.labels.az"}}}}
		},
		"satisfied constraint": func(s *swarm.ServiceSpec) {
			s.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.role==worker"}}
		},
		"empty instead of none": func(s *swarm.ServiceSpec) {
			s.TaskTemplate.ContainerSpec.Env = []string{}
			s.TaskTemplate.ContainerSpec.Labels = map[string]string{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, 2, func(c *cluster) {
				c.put(newService("web", 2))
				c.run(time.Second)
				before := c.running("web")
				c.change("web", change)
				c.run(time.Minute)
				for i, task := range c.running("web")[:2] {
					if task.ID != before[i].ID {
						t.Errorf("task %d was replaced", i)
					}
					if orchestrator.Dirty(c.service("web"), task, c.store.View().Node(task.NodeID)) {
						t.Errorf("task %d is not up to date", i)
					}
				}
				if got := c.status(); got != "none" {
					t.Error(got)
				}
			})
		})
	}
}

func TestForcedUpdateAndPortsRestart(t *testing.T) {
	for name, change := range map[string]func(*swarm.ServiceSpec){
		"force": func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ },
		"ports": func(s *swarm.ServiceSpec) {
			s.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 80, PublishedPort: 80, PublishMode: swarm.PortConfigPublishModeHost}}}
		},
		"unsatisfied constraint": func(s *swarm.ServiceSpec) {
			s.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.hostname==n2"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, 2, func(c *cluster) {
				c.put(updatable(1, swarm.UpdateConfig{Parallelism: 1, Monitor: time.Second}))
				c.run(time.Second)
				before := c.running("web")[0]
				c.change("web", change)
				c.run(time.Minute)
				if after := c.running("web"); len(after) != 1 || after[0].ID == before.ID {
					t.Errorf("not replaced: %v", shape(c.tasks("web")))
				}
				if got := c.status(); got != "completed: update completed" {
					t.Error(got)
				}
			})
		})
	}
}
