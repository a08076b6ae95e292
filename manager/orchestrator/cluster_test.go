package orchestrator_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/internal/store"
	"orch/manager/allocator"
	"orch/manager/orchestrator"
	"orch/manager/scheduler"
)

// cluster is the leader's pass over a store, with workers that do as they are
// told. It lives in a synctest bubble: its time is simulated.
type cluster struct {
	t     *testing.T
	store *store.Store
	watch *store.Watch
	due   map[string]time.Time

	startTime, stopTime time.Duration
	jobTime             time.Duration // how long a job's task runs
	// fate overrides what becomes of a task that has come to a state.
	fate    func(*store.Task) (swarm.TaskState, time.Duration)
	next    map[string]step // by task
	silent  map[string]bool // nodes that report nothing
	lost    map[string]bool // tasks whose node was down while they ran
	writes  int             // passes that changed something
	checkup func()          // runs after every pass
}

// step is what a worker is about to report.
type step struct {
	for_  swarm.TaskState // desired state that it is meant for
	state swarm.TaskState
	at    time.Time
}

func simulate(t *testing.T, nodes int, fn func(*cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{
			t: t, store: store.New(store.NewMemLog()), due: map[string]time.Time{}, next: map[string]step{},
			silent: map[string]bool{}, lost: map[string]bool{}, startTime: 200 * time.Millisecond, stopTime: 300 * time.Millisecond, jobTime: time.Second,
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = c.store.Run(ctx) }()
		<-c.store.Ready()
		defer func() { cancel(); <-ended }()
		c.watch, _ = c.store.Watch()
		defer c.watch.Close()
		c.update(func(tx *store.Tx) {
			cl := &store.Cluster{}
			cl.ID = "cluster"
			tx.Put(cl)
			for i := range nodes {
				tx.Put(newNode(fmt.Sprintf("n%d", i+1)))
			}
		})
		fn(c)
	})
}

func newNode(id string) *store.Node {
	n := &store.Node{}
	n.ID, n.Description.Hostname = id, id
	n.Spec.Availability, n.Spec.Role = swarm.NodeAvailabilityActive, swarm.NodeRoleWorker
	n.Status.State = swarm.NodeStateReady
	n.Description.Resources = swarm.Resources{NanoCPUs: 4e9, MemoryBytes: 8 << 30}
	return n
}

// newService is a replicated service that restarts without delay.
func newService(id string, replicas uint64) *store.Service {
	s := &store.Service{SpecVersion: 1}
	s.ID, s.Spec.Name = id, id
	s.Spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &replicas}
	s.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "v1"}
	s.Spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Delay: new(time.Duration)}
	return s
}

func (c *cluster) update(fn func(*store.Tx)) {
	c.t.Helper()
	if err := c.store.Update(c.t.Context(), func(tx *store.Tx) error { fn(tx); return nil }); err != nil {
		c.t.Fatalf("update: %v", err)
	}
}

// put creates a service, or changes its spec as the API does.
func (c *cluster) put(s *store.Service) { c.update(func(tx *store.Tx) { tx.Put(s) }) }

func (c *cluster) change(id string, fn func(*swarm.ServiceSpec)) {
	c.update(func(tx *store.Tx) {
		s := *tx.Service(id)
		before := s.Spec
		s.PreviousSpec, s.PreviousSpecVersion = &before, s.SpecVersion
		container := *s.Spec.TaskTemplate.ContainerSpec
		s.Spec.TaskTemplate.ContainerSpec = &container
		fn(&s.Spec)
		s.SpecVersion++
		s.UpdateStatus = nil
		tx.Put(&s)
	})
}

// rollback returns to the previous spec as the API does on request.
func (c *cluster) rollback(id string) {
	c.update(func(tx *store.Tx) {
		s := *tx.Service(id)
		now := s.Spec
		s.Spec, s.PreviousSpec = *s.PreviousSpec, &now
		s.SpecVersion++
		s.UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStateRollbackStarted, Message: "manually requested rollback"}
		tx.Put(&s)
	})
}

func (c *cluster) image(id, image string) {
	c.change(id, func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Image = image })
}

func (c *cluster) node(id string, fn func(*store.Node)) {
	c.update(func(tx *store.Tx) {
		n := *tx.Node(id)
		fn(&n)
		if n.Status.State == swarm.NodeStateDown && n.DownAt.IsZero() {
			n.DownAt = tx.Now()
		}
		tx.Put(&n)
	})
	c.silent[id] = c.store.View().Node(id).Status.State == swarm.NodeStateDown
}

// settle runs passes until nothing is to do now.
func (c *cluster) settle() {
	for {
		synctest.Wait()
		changes, _ := c.watch.Take()
		due := map[string]bool{}
		for id, at := range c.due {
			if !time.Now().Before(at) {
				due[id] = true
				delete(c.due, id)
			}
		}
		if len(changes) == 0 && len(due) == 0 {
			return
		}
		c.update(func(tx *store.Tx) {
			scheduler.Enforce(tx, changes)
			for _, id := range orchestrator.Affected(&tx.View, slices.Concat(changes, tx.Changes())) {
				due[id] = true
			}
			services := slices.Sorted(maps.Keys(due))
			for id, at := range orchestrator.Reconcile(tx, services) {
				c.due[id] = at
			}
			allocator.Allocate(tx, services)
			scheduler.Schedule(tx)
			allocator.AttachNodes(tx)
			if len(tx.Changes()) > 0 {
				c.writes++
			}
		})
		if c.writes > 100_000 {
			c.t.Fatal("the passes do not come to rest")
		}
		if c.checkup != nil {
			c.checkup()
		}
	}
}

// run lets time pass.
func (c *cluster) run(d time.Duration) {
	end := time.Now().Add(d)
	for {
		c.settle()
		c.work()
		at := end
		for _, due := range c.due {
			at = earliest(at, due)
		}
		for _, s := range c.next {
			at = earliest(at, s.at)
		}
		if wait := time.Until(at); wait > 0 {
			time.Sleep(wait)
		}
		c.report()
		if !time.Now().Before(end) {
			c.settle()
			c.work()
			return
		}
	}
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// work makes workers plan their next step with every task.
func (c *cluster) work() {
	v := c.store.View()
	seen := map[string]bool{}
	for _, t := range v.Tasks(store.All()) {
		if !t.Assigned() || c.silent[t.NodeID] {
			continue
		}
		state, after := c.plan(t)
		if state == "" {
			continue
		}
		seen[t.ID] = true
		if s := c.next[t.ID]; s.for_ != t.DesiredState || s.state != state {
			c.next[t.ID] = step{t.DesiredState, state, time.Now().Add(after)}
		}
	}
	maps.DeleteFunc(c.next, func(id string, _ step) bool { return !seen[id] })
}

// plan is a well-behaved worker's next step with a task.
func (c *cluster) plan(t *store.Task) (swarm.TaskState, time.Duration) {
	if t.Ended() {
		if t.DesiredState == swarm.TaskStateRemove {
			return swarm.TaskStateRemove, 0
		}
		return "", 0
	}
	if !t.Wanted() {
		if t.Status.State == swarm.TaskStateRunning {
			return swarm.TaskStateShutdown, c.stopTime
		}
		return swarm.TaskStateShutdown, 0
	}
	if c.fate != nil {
		if state, after := c.fate(t); state != "" {
			return state, after
		}
	}
	switch {
	case store.Rank(t.Status.State) < store.Rank(swarm.TaskStateReady):
		return swarm.TaskStateReady, 0
	case t.Status.State == swarm.TaskStateReady && t.DesiredState != swarm.TaskStateReady:
		return swarm.TaskStateRunning, c.startTime
	case t.Status.State == swarm.TaskStateRunning && t.DesiredState == swarm.TaskStateComplete:
		return swarm.TaskStateComplete, c.jobTime
	}
	return "", 0
}

// report sends the steps that are due.
func (c *cluster) report() {
	c.update(func(tx *store.Tx) {
		for _, id := range slices.Sorted(maps.Keys(c.next)) {
			s, t := c.next[id], tx.Task(id)
			if time.Now().Before(s.at) || t == nil {
				continue
			}
			status := bus.TaskStatus{TaskID: id, Status: swarm.TaskStatus{State: s.state, Timestamp: time.Now()}}
			if s.state == swarm.TaskStateRemove {
				status.Status.State, status.Gone = swarm.TaskStateShutdown, true
			}
			orchestrator.Observe(tx, t.NodeID, status)
		}
	})
	maps.DeleteFunc(c.next, func(_ string, s step) bool { return !time.Now().Before(s.at) })
}

// fail reports that a running task failed.
func (c *cluster) fail(t *store.Task) {
	c.update(func(tx *store.Tx) {
		orchestrator.Observe(tx, t.NodeID, bus.TaskStatus{TaskID: t.ID, Status: swarm.TaskStatus{State: swarm.TaskStateFailed, Err: "task: non-zero exit (1)"}})
	})
}

func (c *cluster) service(id string) *store.Service { return c.store.View().Service(id) }

func (c *cluster) tasks(service string) []*store.Task {
	all := c.store.View().Tasks(store.OfService(service))
	slices.SortFunc(all, func(a, b *store.Task) int {
		return cmp.Or(cmp.Compare(a.Slot, b.Slot), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.NodeID, b.NodeID), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// running are the tasks that run and are wanted.
func (c *cluster) running(service string) (all []*store.Task) {
	for _, t := range c.tasks(service) {
		if t.Status.State == swarm.TaskStateRunning && t.Wanted() {
			all = append(all, t)
		}
	}
	return all
}

// shape is what tasks are, in short: slot, image, desired and present state.
func shape(tasks []*store.Task) (lines []string) {
	for _, t := range tasks {
		lines = append(lines, fmt.Sprintf("%d %s %s/%s", t.Slot, t.Spec.ContainerSpec.Image, t.DesiredState, t.Status.State))
	}
	return lines
}
