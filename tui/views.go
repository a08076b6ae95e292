package tui

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"orch/tui/feed"
)

const stackLabel = "com.docker.stack.namespace"

// row is one line of a table. id is what the next view is narrowed to.
type row struct {
	id    string
	cells []string
}

// view is a table made from the state. scope narrows it to one parent's objects; empty means all.
type view struct {
	columns []string
	rows    func(s feed.State, scope string) []row
	deeper  string // the view that Enter opens, empty for none
	empty   string
}

var views = map[string]view{
	"overview": {[]string{"WHAT", "NAME", "STATE"}, problems, "", "Nothing is wrong: every service has its tasks and every node is ready."},
	"stacks":   {[]string{"STACK", "SERVICES", "TASKS"}, stacks, "services", "No stacks. Deploy one: orch deploy"},
	"services": {[]string{"SERVICE", "STACK", "TASKS", "IMAGE", "UPDATE"}, services, "tasks", "No services."},
	"tasks":    {[]string{"TASK", "NODE", "STATE", "DESIRED", "ERROR"}, tasks, "", "No tasks."},
	"nodes":    {[]string{"NODE", "STATE", "AVAILABILITY", "MANAGER", "TASKS", "ENGINE"}, nodes, "tasks", "No nodes."},
	"events":   {[]string{"TIME", "TYPE", "ACTION", "NAME"}, eventRows, "", "No events since the dashboard was opened."},
}

func count(s swarm.Service) (running, desired uint64) {
	if s.ServiceStatus == nil {
		return 0, 0
	}
	return s.ServiceStatus.RunningTasks, s.ServiceStatus.DesiredTasks
}

func problems(s feed.State, _ string) []row {
	var out []row
	for _, n := range s.Nodes {
		if n.Status.State != swarm.NodeStateReady {
			out = append(out, row{n.ID, []string{"node", n.Description.Hostname, string(n.Status.State)}})
		}
	}
	for _, v := range s.Services {
		if running, desired := count(v); running < desired {
			out = append(out, row{v.ID, []string{"service", v.Spec.Name, fmt.Sprintf("%d/%d running", running, desired)}})
		}
	}
	return out
}

func stacks(s feed.State, _ string) []row {
	type total struct{ services, running, desired uint64 }
	totals := map[string]total{}
	for _, v := range s.Services {
		if name := v.Spec.Labels[stackLabel]; name != "" {
			running, desired := count(v)
			t := totals[name]
			totals[name] = total{t.services + 1, t.running + running, t.desired + desired}
		}
	}
	var out []row
	for _, name := range slices.Sorted(maps.Keys(totals)) {
		t := totals[name]
		out = append(out, row{name, []string{name, fmt.Sprint(t.services), fmt.Sprintf("%d/%d", t.running, t.desired)}})
	}
	return out
}

func services(s feed.State, stack string) []row {
	var out []row
	for _, v := range s.Services {
		in := v.Spec.Labels[stackLabel]
		if stack != "" && in != stack {
			continue
		}
		image, update := "", ""
		if c := v.Spec.TaskTemplate.ContainerSpec; c != nil {
			image, _, _ = strings.Cut(c.Image, "@")
		}
		if v.UpdateStatus != nil {
			update = string(v.UpdateStatus.State)
		}
		running, desired := count(v)
		out = append(out, row{v.ID, []string{v.Spec.Name, in, fmt.Sprintf("%d/%d", running, desired), image, update}})
	}
	return out
}

// tasks lists the tasks of a service or of a node; ids of the two never meet.
func tasks(s feed.State, owner string) []row {
	names, hosts := map[string]string{}, map[string]string{}
	for _, v := range s.Services {
		names[v.ID] = v.Spec.Name
	}
	for _, n := range s.Nodes {
		hosts[n.ID] = n.Description.Hostname
	}
	out := make([]row, 0, len(s.Tasks))
	for _, t := range s.Tasks {
		if owner != "" && t.ServiceID != owner && t.NodeID != owner {
			continue
		}
		slot := fmt.Sprint(t.Slot)
		if t.Slot == 0 {
			slot = hosts[t.NodeID] // a global service has one task per node and no slots
		}
		out = append(out, row{t.ID, []string{names[t.ServiceID] + "." + slot, hosts[t.NodeID], string(t.Status.State), string(t.DesiredState), t.Status.Err}})
	}
	return out
}

func nodes(s feed.State, _ string) []row {
	running := map[string]int{}
	for _, t := range s.Tasks {
		if t.Status.State == swarm.TaskStateRunning {
			running[t.NodeID]++
		}
	}
	var out []row
	for _, n := range s.Nodes {
		manager := ""
		if m := n.ManagerStatus; m != nil {
			manager = string(m.Reachability)
			if m.Leader {
				manager = "leader"
			}
		}
		out = append(out, row{n.ID, []string{n.Description.Hostname, string(n.Status.State), string(n.Spec.Availability), manager,
			fmt.Sprint(running[n.ID]), n.Description.Engine.EngineVersion}})
	}
	return out
}

func eventRows(s feed.State, _ string) []row {
	var out []row
	for _, e := range slices.Backward(s.Events) {
		name := e.Actor.Attributes["name"]
		if name == "" {
			name = e.Actor.ID
		}
		at := fmt.Sprintf("%02d:%02d:%02d", e.Time/3600%24, e.Time/60%60, e.Time%60) // UTC
		out = append(out, row{e.Actor.ID, []string{at, string(e.Type), string(e.Action), name}})
	}
	return out
}

func viewNames() string { return strings.Join(slices.Sorted(maps.Keys(views)), ", ") }
