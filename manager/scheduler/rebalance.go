package scheduler

import (
	"cmp"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// Labels by which users decide on rebalancing: RebalanceLabel with the value Auto on the cluster has the leader
// rebalance by itself, with the value Off on a service keeps its tasks where they are.
const (
	RebalanceLabel = "orch.rebalance"
	Auto           = "auto"
	Off            = "off"
)

// Move is a task that had better run elsewhere.
type Move struct {
	TaskID           string
	ServiceName      string
	From, To         string // node IDs
	FromHost, ToHost string
}

// Rebalance are the moves that are possible now, at most as many of a service at a time as its update configuration
// replaces at a time. A service takes part while all its tasks run, no update is under way, and a move leaves one
// running. A move takes a task from the node with the most of its service to one that may run it and has at least two fewer,
// or, where that is even, from the fullest node to one that has at least two tasks fewer in all and none of the service.
func Rebalance(tx *store.Tx) []Move {
	s := &state{tx: tx, byID: map[string]*node{}}
	s.load()
	var moves []Move
	services := tx.Services(store.All())
	slices.SortFunc(services, func(a, b *store.Service) int { return cmp.Compare(a.ID, b.ID) })
	for _, service := range services {
		running, ok := movable(tx, service)
		if !ok {
			continue
		}
		for range atATime(service, len(running)) {
			m, t := s.move(service, running)
			if t == nil {
				break
			}
			moves = append(moves, m)
			running = slices.DeleteFunc(running, func(other *store.Task) bool { return other == t })
		}
	}
	return moves
}

// movable are the service's tasks if one of them may be moved.
func movable(tx *store.Tx, s *store.Service) (running []*store.Task, ok bool) {
	r := s.Spec.Mode.Replicated
	if r == nil || s.Spec.Labels[RebalanceLabel] == Off {
		return nil, false
	}
	if u := s.UpdateStatus; u != nil && u.State != swarm.UpdateStateCompleted && u.State != swarm.UpdateStateRollbackCompleted {
		return nil, false
	}
	for _, t := range tx.Tasks(store.OfService(s.ID)) {
		switch {
		case !t.Wanted():
			if t.Assigned() && !t.Ended() {
				return nil, false // one is still stopping
			}
		case t.Status.State != swarm.TaskStateRunning || t.Moving || t.DesiredState != swarm.TaskStateRunning:
			return nil, false
		case pinned(s, t) || t.Spec.Placement != nil && len(t.Spec.Placement.Preferences) > 0:
			return nil, false // it has its place
		default:
			running = append(running, t)
		}
	}
	want := uint64(1)
	if r.Replicas != nil {
		want = *r.Replicas
	}
	return running, uint64(len(running)) == want
}

// atATime is how many tasks of a service may be on their way.
func atATime(s *store.Service, running int) int {
	parallel, startFirst := 1, false
	if u := s.Spec.UpdateConfig; u != nil {
		parallel, startFirst = max(1, int(u.Parallelism)), u.Order == swarm.UpdateOrderStartFirst
	}
	if !startFirst {
		parallel = min(parallel, running-1)
	}
	return parallel
}

// move finds one task to move, and moves it in the state at hand.
func (s *state) move(service *store.Service, running []*store.Task) (Move, *store.Task) {
	tasks := slices.Clone(running)
	// From the node with the most of the service first, then from the fullest, the youngest first: it has the least to lose.
	slices.SortFunc(tasks, func(a, b *store.Task) int {
		x, y := s.byID[a.NodeID], s.byID[b.NodeID]
		if x == nil || y == nil {
			return 0
		}
		return cmp.Or(cmp.Compare(y.byService[service.ID], x.byService[service.ID]), cmp.Compare(y.tasks, x.tasks),
			b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	for _, t := range tasks {
		from := s.byID[t.NodeID]
		if from == nil {
			continue
		}
		f, order := filters(t), s.order(t)
		var to *node
		for _, n := range s.nodes {
			if n != from && f.pass(n) && (to == nil || order(n, to) < 0) {
				to = n
			}
		}
		if to == nil || !worth(service.ID, from, to) {
			continue
		}
		from.tasks, to.tasks = from.tasks-1, to.tasks+1
		from.byService[service.ID]--
		to.byService[service.ID]++
		return Move{
			TaskID: t.ID, ServiceName: service.Spec.Name, From: from.ID, To: to.ID,
			FromHost: from.Description.Hostname, ToHost: to.Description.Hostname,
		}, t
	}
	return Move{}, nil
}

// worth says that a move makes the cluster more even, and not only different.
func worth(service string, from, to *node) bool {
	if by := from.byService[service] - to.byService[service]; by != 1 {
		return by >= 2
	}
	return from.tasks-to.tasks >= 2
}

// Begin marks the tasks of the moves that are possible now; the orchestrator does the rest.
func Begin(tx *store.Tx) []Move {
	moves := Rebalance(tx)
	for _, m := range moves {
		t := *tx.Task(m.TaskID)
		t.Moving = true
		tx.Put(&t)
	}
	return moves
}
