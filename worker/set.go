package worker

import (
	"maps"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
)

// set is what tasks need besides themselves.
type set struct {
	secrets  map[string]bus.Secret
	configs  map[string]bus.Config
	networks map[string]bus.Network
	services map[string]bus.Service
}

func newSet() set {
	return set{
		secrets: map[string]bus.Secret{}, configs: map[string]bus.Config{},
		networks: map[string]bus.Network{}, services: map[string]bus.Service{},
	}
}

// apply brings an assignment message into the set, tasks excepted, and says whether names, VIPs or ports changed.
func (s *set) apply(m bus.Assignments) (rotation bool) {
	rotation = m.Full || len(m.Networks)+len(m.Services) > 0
	if m.Full {
		*s = newSet()
	}
	for _, v := range m.Secrets {
		s.secrets[v.ID] = v
	}
	for _, v := range m.Configs {
		s.configs[v.ID] = v
	}
	for _, v := range m.Networks {
		s.networks[v.ID] = v
	}
	for _, v := range m.Services {
		s.services[v.ID] = v
	}
	for _, r := range m.Removed {
		switch r.Kind {
		case bus.KindSecret:
			delete(s.secrets, r.ID)
		case bus.KindConfig:
			delete(s.configs, r.ID)
		case bus.KindNetwork:
			delete(s.networks, r.ID)
			rotation = true
		case bus.KindService:
			delete(s.services, r.ID)
			rotation = true
		case bus.KindTask: // the agent's
		}
	}
	return rotation
}

// sortedValues are the values in the order of their keys, so that equal sets look equal.
func sortedValues[V any](m map[string]V) []V {
	out := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

// assign brings a message of the managers into force.
func (a *Agent) assign(m bus.Assignments) {
	if m.Cluster != a.ClusterID {
		a.Log.Error("assignments of another cluster are refused", "cluster", m.Cluster)
		return
	}
	if m.Role != "" && a.Told != nil {
		a.Told(m.Role, m.Managers)
	}
	named := map[string]bool{}
	for _, t := range m.Tasks {
		named[t.ID] = true
	}
	if m.Full {
		m.Full = a.trusts(m, named)
	}
	rotation := a.set.apply(m)
	for _, t := range m.Tasks {
		a.assignTask(t)
	}
	for _, r := range m.Removed {
		if t := a.tasks[r.ID]; t != nil && r.Kind == bus.KindTask {
			a.drop(t)
		}
	}
	if m.Full {
		a.takeFull(named)
	}
	for _, t := range a.tasks {
		if t.lacking { // what it waits for may have come
			t.lacking = false
			a.wake(t)
		}
	}
	a.rotate(m.Epoch, m.Seq, rotation)
	a.unsaved = true
}

// assignTask brings a task, or its new desired state, into force.
func (a *Agent) assignTask(assigned bus.Task) {
	t := a.tasks[assigned.ID]
	if t == nil {
		t = newTask(assigned)
		a.tasks[t.ID] = t
		if s, ok := a.found[t.ID]; ok {
			delete(a.found, t.ID)
			t.container, t.unsure = s.ID, true
		} else if a.engineUp && rank(t.Status.State) >= rank(swarm.TaskStateStarting) {
			a.lost(t)
		}
	} else {
		known, before := t.Status, t.DesiredState
		t.Task = assigned
		if !wanted(before) {
			t.DesiredState = before // a new leader may not know yet that it was told to stop
		}
		t.dropped = false
		t.Status = known
		if assigned.Status.State != known.State {
			a.outbox.add(t.Task) // the managers have missed it
		}
	}
	t.interrupt()
	a.wake(t)
}

// drop takes a task out of the set: what is left of it goes.
func (a *Agent) drop(t *task) {
	t.dropped = true
	t.interrupt()
	a.wake(t)
}

// takeFull ends what the managers do not name.
func (a *Agent) takeFull(named map[string]bool) {
	a.confirmed = true
	for id, t := range a.tasks {
		if !named[id] {
			a.drop(t)
		}
	}
	a.claim()
	if err := a.files.Keep(func(task string) bool { return a.tasks[task] != nil }); err != nil {
		a.Log.Warn("left secrets of tasks that are gone", "err", err)
	}
}

// claim ends the containers of this node that no task is known of, once the managers have had their say.
func (a *Agent) claim() {
	if !a.confirmed {
		return
	}
	for id, s := range a.found {
		a.Log.Info("removing a container whose task is gone", "container", s.Name)
		t := newTask(bus.Task{Task: swarm.Task{ID: id}, Name: s.Name})
		t.container, t.unsure, t.dropped = s.ID, true, true
		a.tasks[id] = t
		delete(a.found, id)
		a.wake(t)
	}
}
