package orchestrator_test

import (
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"orch/internal/store"
)

func newGlobal(id string) *store.Service {
	s := newService(id, 0)
	s.Spec.Mode = swarm.ServiceMode{Global: &swarm.GlobalService{}}
	return s
}

// nodes are where the service's tasks run.
func (c *cluster) nodes(service string) (ids []string) {
	for _, t := range c.running(service) {
		ids = append(ids, t.NodeID)
	}
	slices.Sort(ids)
	return ids
}

func TestGlobalServiceRunsOnEveryNode(t *testing.T) {
	simulate(t, 2, func(c *cluster) {
		expect := func(when string, want ...string) {
			t.Helper()
			c.run(time.Second)
			if diff := cmp.Diff(want, c.nodes("web")); diff != "" {
				t.Errorf("%s: %s", when, diff)
			}
		}
		availability := func(id string, a swarm.NodeAvailability) {
			c.node(id, func(n *store.Node) { n.Spec.Availability = a })
		}
		c.put(newGlobal("web"))
		c.settle()
		if m := c.tasks("web")[0].Status.Message; m != "scheduler confirmed task can run on preassigned node" {
			t.Error(m)
		}
		expect("at first", "n1", "n2")
		c.update(func(tx *store.Tx) { tx.Put(newNode("n3")) })
		expect("with a new node", "n1", "n2", "n3")
		availability("n1", swarm.NodeAvailabilityDrain)
		expect("n1 drained", "n2", "n3")
		availability("n1", swarm.NodeAvailabilityActive)
		expect("n1 back", "n1", "n2", "n3")
		availability("n2", swarm.NodeAvailabilityPause)
		expect("n2 paused", "n1", "n2", "n3")
		c.fail(c.running("web")[1])
		c.run(time.Second)
		c.node("n3", func(n *store.Node) { n.Status.State = swarm.NodeStateDown })
		c.run(time.Second)
		for _, task := range c.tasks("web") {
			if task.NodeID == "n3" && task.Wanted() {
				t.Error("a task is wanted on the node that is down")
			}
		}
		c.update(func(tx *store.Tx) { tx.Delete(tx.Node("n3")) })
		c.run(time.Second)
		for _, task := range c.tasks("web") {
			if task.NodeID == "n3" {
				t.Error("a task of the removed node is left")
			}
		}
	})
}

func TestGlobalServiceFollowsItsConstraints(t *testing.T) {
	label := func(c *cluster, node, value string) {
		c.node(node, func(n *store.Node) { n.Spec.Labels = map[string]string{"gpu": value} })
	}
	simulate(t, 3, func(c *cluster) {
		label(c, "n1", "yes")
		s := newGlobal("web")
		s.Spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.labels.gpu==yes"}}
		c.put(s)
		c.run(time.Second)
		if diff := cmp.Diff([]string{"n1"}, c.nodes("web")); diff != "" {
			t.Error(diff)
		}
		label(c, "n2", "yes")
		label(c, "n1", "no")
		c.run(time.Second)
		if diff := cmp.Diff([]string{"n2"}, c.nodes("web")); diff != "" {
			t.Error(diff)
		}
		for _, task := range c.tasks("web") {
			if task.NodeID == "n1" && task.Status.Message != "task rejected by constraint enforcer" {
				t.Errorf("on n1: %q", task.Status.Message)
			}
		}
	})
}

func TestGlobalUpdateRollsNodeByNode(t *testing.T) {
	simulate(t, 4, func(c *cluster) {
		s := newGlobal("web")
		s.Spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1, Monitor: time.Second}
		c.put(s)
		c.run(time.Second)
		c.node("n4", func(n *store.Node) { n.Spec.Availability = swarm.NodeAvailabilityPause })
		c.checkup = func() {
			if n := len(c.running("web")); n < 3 {
				t.Errorf("only %d run", n)
			}
		}
		c.image("web", "v2")
		c.run(10 * time.Second)
		if diff := cmp.Diff(map[string]int{"v1": 1, "v2": 3}, c.images()); diff != "" {
			t.Error(diff)
		}
		if got := c.status(); got != "completed: update completed" {
			t.Error(got)
		}
		// What was paused during the update is brought up to date afterwards,
		// and the update stays completed.
		c.node("n4", func(n *store.Node) { n.Spec.Availability = swarm.NodeAvailabilityActive })
		c.run(time.Second)
		if diff := cmp.Diff(map[string]int{"v2": 4}, c.images()); diff != "" {
			t.Error(diff)
		}
		if got := c.status(); got != "completed: update completed" {
			t.Error(got)
		}
	})
}

func TestConstraintEnforcerMovesReplicatedTasks(t *testing.T) {
	simulate(t, 2, func(c *cluster) {
		for _, n := range []string{"n1", "n2"} {
			c.node(n, func(n *store.Node) { n.Spec.Labels = map[string]string{"ssd": "yes"} })
		}
		s := newService("web", 2)
		s.Spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.labels.ssd==yes"}}
		c.put(s)
		c.run(time.Second)
		c.node("n1", func(n *store.Node) { n.Spec.Labels = nil })
		c.run(time.Second)
		if diff := cmp.Diff([]string{"n2", "n2"}, c.nodes("web")); diff != "" {
			t.Error(diff)
		}
	})
}
