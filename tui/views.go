package tui

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"orch/tui/feed"
)

// overviewEvents leaves the overview short; the events view has them all.
const overviewEvents = 10

const stackLabel = "com.docker.stack.namespace"

// row is one line of a table. id is what the next view is narrowed to.
// opens is the view that Enter opens where it is not the view's own.
type row struct {
	id    string
	cells []string
	opens string
}

// view is a table made from the state. scope narrows it to one parent's objects; empty means all.
type view struct {
	columns []string
	rows    func(s feed.State, scope string) []row
	deeper  string // the view that Enter opens, empty for none
	empty   string
	name    int  // the column that names a row
	ordered bool // rows come in an order of their own, which the first column keeps
	text    bool // rows are lines of a text that the place holds
}

var views = map[string]view{
	"overview": {columns: []string{"", "WHAT", "NAME", "STATE"}, rows: overview, name: 2, ordered: true,
		empty: "Nothing here yet. Deploy an application: orch deploy"},
	"stacks": {columns: []string{"STACK", "SERVICES", "TASKS"}, rows: stacks, deeper: "services", empty: "No stacks. Deploy one: orch deploy"},
	"services": {columns: []string{"SERVICE", "STACK", "TASKS", "IMAGE", "UPDATE"}, rows: services, deeper: "tasks",
		empty: "No services."},
	"tasks":  {columns: []string{"TASK", "NODE", "STATE", "DESIRED", "ERROR"}, rows: tasks, deeper: "logs", empty: "No tasks."},
	"nodes":  {columns: []string{"NODE", "STATE", "AVAILABILITY", "MANAGER", "TASKS", "ENGINE"}, rows: nodes, deeper: "tasks", empty: "No nodes."},
	"events": {columns: []string{"TIME", "TYPE", "ACTION", "NAME"}, rows: eventRows, ordered: true, empty: "No events since the dashboard was opened."},

	"logs":    {columns: []string{"LOG"}, rows: none, text: true, empty: "Nothing logged yet."},
	"inspect": {columns: []string{"JSON"}, rows: none, text: true, empty: "Reading."},
}

// count is how many tasks a service has and should have; one that has completed for good counts as there.
func count(s swarm.Service) (there, desired uint64) {
	if s.ServiceStatus == nil {
		return 0, 0
	}
	return s.ServiceStatus.RunningTasks + s.ServiceStatus.CompletedTasks, s.ServiceStatus.DesiredTasks
}

func none(feed.State, string) []row { return nil }

// overview is what is wrong, then stacks, nodes and the latest events.
func overview(s feed.State, _ string) []row {
	var out []row
	for _, r := range problems(s, "") {
		out = append(out, row{id: r.id, cells: append([]string{"!"}, r.cells...), opens: "tasks"})
	}
	for _, r := range stacks(s, "") {
		out = append(out, row{id: r.id, cells: []string{"", "stack", r.cells[0], r.cells[2] + " tasks of " + r.cells[1] + " services"}, opens: "services"})
	}
	for _, r := range nodes(s, "") {
		state := fmt.Sprintf("%s, %s, %s tasks", r.cells[1], r.cells[2], r.cells[4])
		if r.cells[3] != "" {
			state += ", " + r.cells[3]
		}
		out = append(out, row{id: r.id, cells: []string{"", "node", r.cells[0], state}, opens: "tasks"})
	}
	recent := eventRows(s, "")
	for _, r := range recent[:min(len(recent), overviewEvents)] {
		out = append(out, row{id: r.id, cells: []string{"", "event", r.cells[3], r.cells[0] + " " + r.cells[1] + " " + r.cells[2]}})
	}
	return out
}

func problems(s feed.State, _ string) []row {
	last := map[string]swarm.Task{} // the latest failure of each service
	for _, t := range s.Tasks {
		if t.Status.Err != "" && t.Status.Timestamp.After(last[t.ServiceID].Status.Timestamp) {
			last[t.ServiceID] = t
		}
	}
	var out []row
	for _, n := range s.Nodes {
		if n.Status.State != swarm.NodeStateReady {
			out = append(out, row{id: n.ID, cells: []string{"node", n.Description.Hostname, string(n.Status.State)}})
		}
	}
	for _, v := range s.Services {
		if running, desired := count(v); running < desired {
			state := fmt.Sprintf("%d/%d running", running, desired)
			if why := last[v.ID].Status.Err; why != "" {
				state += ": " + why
			}
			out = append(out, row{id: v.ID, cells: []string{"service", v.Spec.Name, state}})
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
		out = append(out, row{id: name, cells: []string{name, fmt.Sprint(t.services), fmt.Sprintf("%d/%d", t.running, t.desired)}})
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
		out = append(out, row{id: v.ID, cells: []string{v.Spec.Name, in, fmt.Sprintf("%d/%d", running, desired), image, update}})
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
		out = append(out, row{id: t.ID, cells: []string{names[t.ServiceID] + "." + slot, hosts[t.NodeID], string(t.Status.State), string(t.DesiredState), t.Status.Err}})
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
		out = append(out, row{id: n.ID, cells: []string{n.Description.Hostname, string(n.Status.State), string(n.Spec.Availability), manager,
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
		out = append(out, row{id: e.Actor.ID, cells: []string{at, string(e.Type), string(e.Action), name}})
	}
	return out
}

// viewNames are the views that can be opened by name; a text belongs to one object.
func viewNames() string {
	var names []string
	for name, v := range views {
		if !v.text {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
