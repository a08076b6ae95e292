package feed

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/volume"

	"orch/compose"
)

// StackLabel names the stack of an object, as docker stack deploy does.
const StackLabel = compose.LabelNamespace

// State is the cluster as last read. StaleSince is zero while the cluster answers.
type State struct {
	Nodes    []swarm.Node
	Services []*Service
	Tasks    []*Task // by service and slot, the newest of a slot first
	Networks []network.Summary
	Volumes  []*volume.Volume // of the machine whose API this is, as are images
	Secrets  []swarm.Secret
	Configs  []swarm.Config // without their content
	Images   []image.Summary
	History  []compose.Revision // of all stacks, the newest first
	Events   []events.Message   // oldest first

	Loading    bool   // the tasks are still being read, for the first time
	Orch       bool   // the API is orch's: it tells of tasks, and of usage on every node
	Endpoint   string // the one that answers
	Self       string // ID of the node whose API this is
	At         time.Time
	StaleSince time.Time
	Err        error

	tasksOf, tasksOn map[string][]*Task
	byID             map[string]*Task
}

// Service is a service and how far it is.
type Service struct {
	swarm.Service
	Stack string
	// There is how many tasks are as they should be, Desired how many should; a service that has run and ended well is there.
	There, Desired int
	// Fresh is how many tasks of an update that is under way run already.
	Fresh int
	// Wrong is the latest error of a task, while one is missing.
	Wrong string
}

// Task is what is shown of one; 10,000 of them are kept.
type Task struct {
	ID, ServiceID, NodeID string
	Name, Host, Image     string
	Slot                  int
	State, Desired        swarm.TaskState
	Checked               bool // it has a health check, so running means healthy
	Err, Message          string
	Container             string
	Created, Since        time.Time
	service               string
}

// Running says that the task has a container that runs.
func (t *Task) Running() bool { return t.State == swarm.TaskStateRunning && t.Container != "" }

// Live says that the task is there to stay: not one of those that are kept as history.
func (t *Task) Live() bool {
	return t.Desired == swarm.TaskStateRunning || t.Desired == swarm.TaskStateReady || t.Desired == swarm.TaskStateComplete
}

// TasksOf are the tasks of a service, TasksOn those of a node.
func (s *State) TasksOf(service string) []*Task { return s.tasksOf[service] }

// TasksOn are the tasks of a node.
func (s *State) TasksOn(node string) []*Task { return s.tasksOn[node] }

// Service finds one by ID.
func (s *State) Service(id string) *Service {
	if i := slices.IndexFunc(s.Services, func(v *Service) bool { return v.ID == id }); i >= 0 {
		return s.Services[i]
	}
	return nil
}

// Task finds one by ID.
func (s *State) Task(id string) *Task { return s.byID[id] }

// Node finds one by ID.
func (s *State) Node(id string) *swarm.Node {
	if i := slices.IndexFunc(s.Nodes, func(n swarm.Node) bool { return n.ID == id }); i >= 0 {
		return &s.Nodes[i]
	}
	return nil
}

// slim takes from a task what is shown. Strings that many tasks share are those of intern.
func slim(t swarm.Task, intern func(string) string) *Task {
	out := &Task{
		ID: t.ID, ServiceID: intern(t.ServiceID), NodeID: intern(t.NodeID), Slot: t.Slot,
		State: swarm.TaskState(intern(string(t.Status.State))), Desired: swarm.TaskState(intern(string(t.DesiredState))),
		Err: t.Status.Err, Message: intern(t.Status.Message), Created: t.CreatedAt, Since: t.Status.Timestamp,
	}
	if c := t.Spec.ContainerSpec; c != nil {
		name, _, _ := strings.Cut(c.Image, "@")
		out.Image = intern(name)
		h := c.Healthcheck
		out.Checked = h != nil && len(h.Test) > 0 && h.Test[0] != "NONE"
	}
	if c := t.Status.ContainerStatus; c != nil {
		out.Container = c.ContainerID
	}
	return out
}

// build makes what is derived: names, indexes, counts. The parts are shared with the states before, and never changed.
func (s *State) build(services map[string]*swarm.Service, tasks map[string]*Task) {
	hosts := map[string]string{}
	for _, n := range s.Nodes {
		hosts[n.ID] = n.Description.Hostname
	}
	s.Tasks = make([]*Task, 0, len(tasks))
	for id, t := range tasks {
		service := t.ServiceID
		if v := services[t.ServiceID]; v != nil {
			service = v.Spec.Name
		}
		if t.service != service || t.Host != hosts[t.NodeID] { // most are named already
			named := *t
			named.service, named.Host = service, hosts[t.NodeID]
			if named.Name = service + "." + strconv.Itoa(t.Slot); t.Slot == 0 {
				named.Name = service + "." + cmp.Or(named.Host, t.NodeID) // a global service has one task per node and no slots
			}
			t = &named
			tasks[id] = t
		}
		s.Tasks = append(s.Tasks, t)
	}
	slices.SortFunc(s.Tasks, func(a, b *Task) int {
		return cmp.Or(strings.Compare(a.service, b.service), a.Slot-b.Slot, strings.Compare(a.Host, b.Host), b.Created.Compare(a.Created), strings.Compare(a.ID, b.ID))
	})
	s.byID = maps.Clone(tasks) // the watcher's own goes on changing
	s.tasksOf, s.tasksOn = map[string][]*Task{}, map[string][]*Task{}
	for _, t := range s.Tasks {
		s.tasksOf[t.ServiceID] = append(s.tasksOf[t.ServiceID], t)
		s.tasksOn[t.NodeID] = append(s.tasksOn[t.NodeID], t)
	}
	s.Services = make([]*Service, 0, len(services))
	for _, v := range services {
		s.Services = append(s.Services, count(v, s.tasksOf[v.ID]))
	}
	slices.SortFunc(s.Services, func(a, b *Service) int { return strings.Compare(a.Spec.Name, b.Spec.Name) })
}

// count says how far a service is.
func count(v *swarm.Service, tasks []*Task) *Service {
	out := &Service{Service: *v, Stack: v.Spec.Labels[StackLabel]}
	once, ended := compose.RunsOnce(*v), map[int]bool{}
	for i, t := range tasks {
		latest := i == 0 || tasks[i-1].Slot != t.Slot || t.Slot == 0
		switch {
		case t.State == swarm.TaskStateRunning && t.Desired == swarm.TaskStateRunning, t.State == swarm.TaskStateRunning && t.Desired == swarm.TaskStateComplete:
			out.There++
			if u := v.UpdateStatus; u != nil && u.StartedAt != nil && t.Created.After(*u.StartedAt) {
				out.Fresh++
			}
		case t.State == swarm.TaskStateComplete && (latest && once || v.JobStatus != nil && !ended[t.Slot]):
			ended[t.Slot] = true
			out.There++
		}
		if v.Spec.Mode.Global != nil && t.Desired == swarm.TaskStateRunning {
			out.Desired++
		}
	}
	switch m := v.Spec.Mode; {
	case m.Replicated != nil && m.Replicated.Replicas != nil:
		out.Desired = int(*m.Replicated.Replicas)
	case m.ReplicatedJob != nil:
		out.Desired = 1
		if n := m.ReplicatedJob.TotalCompletions; n != nil {
			out.Desired = int(*n)
		}
	case m.GlobalJob != nil:
		out.Desired = len(tasks)
	}
	if out.There < out.Desired && len(tasks) > 0 {
		out.Wrong = wrong(tasks)
	}
	return out
}

// wrong is the latest error of a service's tasks.
func wrong(tasks []*Task) string {
	var last *Task
	for _, t := range tasks {
		if t.Err != "" && (last == nil || t.Since.After(last.Since)) {
			last = t
		}
	}
	if last == nil {
		return ""
	}
	return last.Err
}
