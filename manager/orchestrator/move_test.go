package orchestrator_test

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// least runs on while something happens, and returns the fewest tasks of the service that ran at a time.
func (c *cluster) least(service string, d time.Duration) int {
	least := len(c.running(service))
	c.checkup = func() { least = min(least, len(c.running(service))) }
	c.run(d)
	c.checkup = nil
	return least
}

func TestDrainAndMoveGoByTheUpdateOrder(t *testing.T) {
	for _, tt := range []struct {
		name  string
		order string
		leave func(*cluster)
		least int // of 4 replicas, 2 on n1
	}{
		{"drain, start first", swarm.UpdateOrderStartFirst, func(c *cluster) {
			c.node("n1", func(n *store.Node) { n.Spec.Availability = swarm.NodeAvailabilityDrain })
		}, 4},
		{"drain, stop first", swarm.UpdateOrderStopFirst, func(c *cluster) {
			c.node("n1", func(n *store.Node) { n.Spec.Availability = swarm.NodeAvailabilityDrain })
		}, 2},
		{"move, start first", swarm.UpdateOrderStartFirst, mark, 4},
		{"move, stop first", swarm.UpdateOrderStopFirst, mark, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			simulate(t, 2, func(c *cluster) {
				s := newService("web", 4)
				s.Spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1, Order: tt.order}
				s.Spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny}
				c.put(s)
				c.run(time.Minute)
				before := map[string]bool{}
				for _, task := range c.running("web") {
					before[task.ID] = true
				}
				tt.leave(c)
				if got := c.least("web", time.Minute); got != tt.least {
					t.Errorf("at worst %d tasks ran, want %d", got, tt.least)
				}
				if got := len(c.running("web")); got != 4 {
					t.Errorf("%d tasks run in the end", got)
				}
				for _, task := range c.running("web") {
					if n := c.store.View().Node(task.NodeID); n.Spec.Availability != swarm.NodeAvailabilityActive || task.Moving {
						t.Errorf("task %s is on %s still", task.ID, task.NodeID)
					}
				}
				if u := c.service("web").UpdateStatus; u != nil {
					t.Errorf("a move passes for an update: %+v", u)
				}
			})
		})
	}
}

// mark marks one task of n1, as a rebalance does.
func mark(c *cluster) {
	for _, task := range c.running("web") {
		if task.NodeID == "n1" {
			c.update(func(tx *store.Tx) {
				moved := *tx.Task(task.ID)
				moved.Moving = true
				tx.Put(&moved)
			})
			return
		}
	}
}
