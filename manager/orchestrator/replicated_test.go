package orchestrator_test

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"orch/internal/store"
)

func TestServiceComesUpSpreadOverNodes(t *testing.T) {
	simulate(t, 3, func(c *cluster) {
		c.put(newService("web", 3))
		c.settle()
		for _, task := range c.tasks("web") {
			if task.Status.State != swarm.TaskStateAssigned || task.Status.Message != "scheduler assigned task to node" {
				t.Errorf("task after one pass: %s %q", task.Status.State, task.Status.Message)
			}
		}
		c.run(time.Second)
		want := []string{"1 v1 running/running", "2 v1 running/running", "3 v1 running/running"}
		if diff := cmp.Diff(want, shape(c.tasks("web"))); diff != "" {
			t.Error(diff)
		}
		nodes := map[string]int{}
		for _, task := range c.tasks("web") {
			nodes[task.NodeID]++
		}
		if diff := cmp.Diff(map[string]int{"n1": 1, "n2": 1, "n3": 1}, nodes); diff != "" {
			t.Error(diff)
		}
	})
}

func TestFailureIsReplacedInTheSamePass(t *testing.T) {
	simulate(t, 1, func(c *cluster) {
		c.put(newService("web", 1))
		c.run(time.Second)
		c.fail(c.tasks("web")[0])
		c.settle()
		want := []string{"1 v1 shutdown/failed", "1 v1 running/assigned"}
		if diff := cmp.Diff(want, shape(c.tasks("web"))); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRestartDelay(t *testing.T) {
	simulate(t, 1, func(c *cluster) {
		s := newService("web", 1)
		s.Spec.TaskTemplate.RestartPolicy = nil // 5 s
		c.put(s)
		c.run(time.Second)
		c.fail(c.tasks("web")[0])
		c.run(4900 * time.Millisecond)
		want := []string{"1 v1 shutdown/failed", "1 v1 ready/ready"}
		if diff := cmp.Diff(want, shape(c.tasks("web"))); diff != "" {
			t.Errorf("just before the delay is over: %s", diff)
		}
		c.run(500 * time.Millisecond)
		want = []string{"1 v1 shutdown/failed", "1 v1 running/running"}
		if diff := cmp.Diff(want, shape(c.tasks("web"))); diff != "" {
			t.Errorf("after it: %s", diff)
		}
	})
}

func TestTaskHistoryCountsTheLiveTask(t *testing.T) {
	simulate(t, 1, func(c *cluster) {
		c.put(newService("web", 1))
		for range 10 {
			c.run(time.Second)
			c.fail(c.running("web")[0])
		}
		c.run(time.Second)
		if n := len(c.tasks("web")); n != 5 {
			t.Errorf("%d tasks are kept, not 5", n)
		}
	})
}

func TestRestartPolicy(t *testing.T) {
	attempts := func(n uint64) *uint64 { return &n }
	for _, tt := range []struct {
		name   string
		policy swarm.RestartPolicy
		end    swarm.TaskState
		tasks  int // made within a minute
	}{
		{"none", swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionNone}, swarm.TaskStateFailed, 1},
		{"on failure, exit 0", swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionOnFailure}, swarm.TaskStateComplete, 1},
		{"on failure, 2 attempts", swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionOnFailure, MaxAttempts: attempts(2)}, swarm.TaskStateFailed, 3},
		{"any, 3 attempts", swarm.RestartPolicy{MaxAttempts: attempts(3)}, swarm.TaskStateComplete, 4},
		{"image cannot be pulled", swarm.RestartPolicy{MaxAttempts: attempts(3)}, swarm.TaskStateRejected, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			simulate(t, 1, func(c *cluster) {
				s := newService("web", 1)
				s.Spec.TaskTemplate.RestartPolicy = &tt.policy
				c.fate = func(task *store.Task) (swarm.TaskState, time.Duration) {
					switch {
					case tt.end == swarm.TaskStateRejected:
						return tt.end, 0
					case task.Status.State == swarm.TaskStateRunning:
						return tt.end, time.Second
					}
					return "", 0
				}
				c.put(s)
				c.run(time.Minute)
				if n := len(c.tasks("web")); n != tt.tasks {
					t.Errorf("%d tasks, want %d: %v", n, tt.tasks, shape(c.tasks("web")))
				}
				for _, task := range c.tasks("web") {
					if task.DesiredState != swarm.TaskStateShutdown {
						t.Errorf("desired %s", task.DesiredState)
					}
				}
			})
		})
	}
}

func TestAttemptsCountWithinTheWindow(t *testing.T) {
	two, window := uint64(2), 10*time.Second
	simulate(t, 1, func(c *cluster) {
		s := newService("web", 1)
		s.Spec.TaskTemplate.RestartPolicy.MaxAttempts = &two
		s.Spec.TaskTemplate.RestartPolicy.Window = &window
		c.put(s)
		for range 10 { // one failure in 8 s: never more than two in 10 s
			c.run(8 * time.Second)
			c.fail(c.running("web")[0])
		}
		for range 3 {
			c.run(time.Second)
			if running := c.running("web"); len(running) > 0 {
				c.fail(running[0])
			}
		}
		c.run(time.Minute)
		if len(c.running("web")) != 0 {
			t.Errorf("still restarted: %v", shape(c.tasks("web")))
		}
	})
}

func TestScaleDownTakesTheSecondOnANodeAndHighSlotsFirst(t *testing.T) {
	simulate(t, 2, func(c *cluster) {
		c.put(newService("web", 5))
		c.run(time.Second)
		two := uint64(2)
		c.change("web", func(s *swarm.ServiceSpec) { s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &two} })
		c.settle()
		want := []string{
			"1 v1 running/running", "2 v1 running/running",
			"3 v1 remove/running", "4 v1 remove/running", "5 v1 remove/running",
		}
		if diff := cmp.Diff(want, shape(c.tasks("web"))); diff != "" {
			t.Error(diff)
		}
		if c.service("web").UpdateStatus != nil {
			t.Error("scaling is no update")
		}
		c.run(time.Second)
		if diff := cmp.Diff(want[:2], shape(c.tasks("web"))); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSlotIsNotFilledAgainBeforeItIsEmpty(t *testing.T) {
	simulate(t, 1, func(c *cluster) {
		scale := func(n uint64) {
			c.change("web", func(s *swarm.ServiceSpec) { s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &n} })
		}
		c.put(newService("web", 2))
		c.run(time.Second)
		scale(1)
		c.settle()
		scale(2)
		c.settle()
		want := []string{"1 v1 running/running", "2 v1 remove/running", "2 v1 ready/assigned"}
		if diff := cmp.Diff(want, shape(c.tasks("web"))); diff != "" {
			t.Error(diff)
		}
		c.run(time.Second)
		want = []string{"1 v1 running/running", "2 v1 running/running"}
		if diff := cmp.Diff(want, shape(c.tasks("web"))); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRemovedServiceLeavesNothing(t *testing.T) {
	simulate(t, 2, func(c *cluster) {
		c.put(newService("web", 3))
		c.run(time.Second)
		c.fail(c.tasks("web")[0]) // history goes too
		c.run(time.Second)
		c.update(func(tx *store.Tx) { tx.Delete(tx.Service("web")) })
		c.settle()
		for _, task := range c.tasks("web") {
			if task.DesiredState != swarm.TaskStateRemove {
				t.Errorf("desired %s", task.DesiredState)
			}
		}
		c.run(time.Second)
		if left := c.tasks("web"); len(left) != 0 {
			t.Errorf("left: %v", shape(left))
		}
	})
}

func TestDrainMovesTasksWithoutDelay(t *testing.T) {
	simulate(t, 2, func(c *cluster) {
		s := newService("web", 2)
		s.Spec.TaskTemplate.RestartPolicy = nil
		c.put(s)
		c.run(time.Second)
		c.node("n1", func(n *store.Node) { n.Spec.Availability = swarm.NodeAvailabilityDrain })
		c.run(time.Second)
		for _, task := range c.running("web") {
			if task.NodeID != "n2" {
				t.Errorf("a task runs on %s", task.NodeID)
			}
		}
		if n := len(c.running("web")); n != 2 {
			t.Errorf("%d run", n)
		}
	})
}

func TestNodeDownAndBack(t *testing.T) {
	simulate(t, 2, func(c *cluster) {
		s := newService("web", 2)
		s.Spec.TaskTemplate.RestartPolicy = nil
		c.put(s)
		c.run(time.Second)
		c.node("n1", func(n *store.Node) { n.Status.State = swarm.NodeStateDown })
		c.run(time.Second)
		want := []string{"1 v1 shutdown/running", "1 v1 running/running", "2 v1 running/running"}
		if diff := cmp.Diff(want, shape(c.tasks("web"))); diff != "" {
			t.Errorf("while it is down: %s", diff)
		}
		c.node("n1", func(n *store.Node) { n.Status.State, n.DownAt = swarm.NodeStateReady, time.Time{} })
		c.run(time.Second)
		want[0] = "1 v1 shutdown/shutdown"
		if diff := cmp.Diff(want, shape(c.tasks("web"))); diff != "" {
			t.Errorf("after its return: %s", diff)
		}
	})
}

func TestTasksOfALostNodeAreOrphaned(t *testing.T) {
	for _, tt := range []struct {
		name    string
		lose    func(*cluster)
		after   time.Duration
		message string
	}{
		{"down for a day", func(c *cluster) {
			c.node("n1", func(n *store.Node) { n.Status.State = swarm.NodeStateDown })
		}, 24*time.Hour + time.Second, ""},
		{"removed", func(c *cluster) {
			c.update(func(tx *store.Tx) { tx.Delete(tx.Node("n1")) })
		}, time.Second, "Task belonged to a node that has been deleted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			simulate(t, 1, func(c *cluster) {
				c.put(newService("web", 1))
				c.run(time.Second)
				tt.lose(c)
				c.run(tt.after)
				old := c.tasks("web")[0]
				if old.Status.State != swarm.TaskStateOrphaned || old.Status.Message != tt.message {
					t.Errorf("%s %q", old.Status.State, old.Status.Message)
				}
				pending := c.tasks("web")[1]
				if pending.Status.State != swarm.TaskStatePending {
					t.Errorf("its replacement is %s", pending.Status.State)
				}
			})
		})
	}
}
