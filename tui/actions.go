package tui

import (
	"fmt"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/docker/docker/api/types/swarm"

	"orch/compose"
	"orch/tui/feed"
)

// every makes a change of each target.
func every(on []target, change func(id, name string) feed.Change) (out []feed.Change) {
	for _, t := range on {
		out = append(out, change(t.id, t.name))
	}
	return out
}

// namesOf lists what a question is about, with how far each is where it is a service.
func namesOf(on []target) string {
	var out []string
	for _, t := range on {
		name := t.name
		if v, ok := t.v.(*feed.Service); ok {
			name += fmt.Sprintf(" (%s tasks)", tally(v.There, v.Desired))
		}
		out = append(out, name)
	}
	return strings.Join(out, ", ")
}

func scale(m model, on []target, args []string) (model, tea.Cmd) {
	to := func(m model, value string) (model, tea.Cmd) {
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return m.said("✗ %q is no number of tasks", value), nil
		}
		verb := ""
		for _, t := range on {
			if v, ok := t.v.(*feed.Service); ok {
				if v.Spec.Mode.Replicated == nil {
					return m.said("✗ %s is %s: only a replicated service can be scaled", t.name, modeOf(v)), nil
				}
				switch d := int(n) - v.Desired; {
				case d > 0:
					verb = fmt.Sprintf(": %d tasks are started", d)
				case d < 0:
					verb = fmt.Sprintf(": %d tasks are stopped", -d)
				}
			}
		}
		if len(on) > 1 {
			verb = ""
		}
		return m.ask(fmt.Sprintf("Scale %s to %d%s?", namesOf(on), n, verb), every(on, func(id, name string) feed.Change { return feed.Scale(id, name, n) })...), nil
	}
	if len(args) > 0 {
		return to(m, args[0])
	}
	return m.prompted(prompt{label: "Scale " + clean(namesOf(on)) + " to how many tasks? ", done: to}, ""), nil
}

func restart(m model, on []target, _ []string) (model, tea.Cmd) {
	return m.ask(fmt.Sprintf("Restart %s? All tasks are replaced, as the update settings say.", namesOf(on)), every(on, feed.Restart)...), nil
}

func rollback(m model, on []target, _ []string) (model, tea.Cmd) {
	if r, ok := on[0].v.(compose.Revision); ok {
		return m.plan(fmt.Sprintf("rollback of %s to %d", r.Stack, r.Number), func(c feed.Client) (*feed.Deployment, error) {
			return feed.PlanRollback(m.ctx, c, r.Stack, r.Number)
		})
	}
	says := fmt.Sprintf("Roll %s back? The previous spec is deployed again", namesOf(on))
	if v, ok := on[0].v.(*feed.Service); ok && len(on) == 1 && v.PreviousSpec != nil && v.PreviousSpec.TaskTemplate.ContainerSpec != nil {
		before, _, _ := strings.Cut(v.PreviousSpec.TaskTemplate.ContainerSpec.Image, "@")
		says += ", with image " + before
	}
	return m.ask(says+".", every(on, feed.Rollback)...), nil
}

func changeImage(m model, on []target, args []string) (model, tea.Cmd) {
	to := func(m model, image string) (model, tea.Cmd) {
		if image == "" {
			return m, nil
		}
		return m.ask(fmt.Sprintf("Run image %s in %s? All tasks are replaced, as the update settings say.", image, namesOf(on)),
			every(on, func(id, name string) feed.Change { return feed.Image(id, name, image) })...), nil
	}
	if len(args) > 0 {
		return to(m, args[0])
	}
	now := ""
	if v, ok := on[0].v.(*feed.Service); ok {
		now = imageOf(v)
	}
	return m.prompted(prompt{label: "Image of " + clean(on[0].name) + ": ", done: to}, now), nil
}

func pauseUpdate(m model, on []target, _ []string) (model, tea.Cmd) {
	return m.ask(fmt.Sprintf("Hold the update of %s? Tasks that are being replaced are finished, no further ones begin until you let it go on.", namesOf(on)), every(on, feed.PauseUpdate)...), nil
}

func resumeUpdate(m model, on []target, _ []string) (model, tea.Cmd) {
	return m.ask(fmt.Sprintf("Let the update of %s go on? The tasks that are left are replaced.", namesOf(on)), every(on, feed.ResumeUpdate)...), nil
}

// available sets nodes' availability.
func available(to swarm.NodeAvailability) func(model, []target, []string) (model, tea.Cmd) {
	return func(m model, on []target, _ []string) (model, tea.Cmd) {
		tasks := 0
		for _, t := range on {
			tasks += runningOn(m.state, t.id)
		}
		says := map[swarm.NodeAvailability]string{
			"drain":  fmt.Sprintf("Drain %s? Its %d tasks are stopped and started on other nodes.", namesOf(on), tasks),
			"pause":  fmt.Sprintf("Pause %s? Its %d tasks stay, it gets no new ones.", namesOf(on), tasks),
			"active": fmt.Sprintf("Activate %s? It gets new tasks again; those of other nodes stay where they are.", namesOf(on)),
		}[to]
		return m.ask(says, every(on, func(id, name string) feed.Change {
			return feed.EditNode(id, name, func(s *swarm.NodeSpec) { s.Availability = to })
		})...), nil
	}
}

// role promotes or demotes.
func role(to swarm.NodeRole) func(model, []target, []string) (model, tea.Cmd) {
	return func(m model, on []target, _ []string) (model, tea.Cmd) {
		managers := 0
		for i := range m.state.Nodes {
			if m.state.Nodes[i].Spec.Role == swarm.NodeRoleManager {
				managers++
			}
		}
		for _, t := range on {
			if n, ok := t.v.(*swarm.Node); ok && n.Spec.Role != to {
				managers += map[swarm.NodeRole]int{swarm.NodeRoleManager: 1, swarm.NodeRoleWorker: -1}[to]
			}
		}
		verb := map[swarm.NodeRole]string{swarm.NodeRoleManager: "Promote %s to manager?", swarm.NodeRoleWorker: "Demote %s to worker?"}[to]
		says := fmt.Sprintf(verb+" The cluster then has %d managers and survives the loss of %d.", namesOf(on), managers, max(0, (managers-1)/2))
		if managers == 0 {
			return m.said("✗ %s is the last manager: a cluster needs one", namesOf(on)), nil
		}
		return m.ask(says, every(on, func(id, name string) feed.Change {
			return feed.EditNode(id, name, func(s *swarm.NodeSpec) { s.Role = to })
		})...), nil
	}
}

func label(m model, on []target, args []string) (model, tea.Cmd) {
	to := func(m model, value string) (model, tea.Cmd) {
		k, v, ok := strings.Cut(value, "=")
		if !ok || k == "" {
			return m.said("✗ %q is no label: want KEY=VALUE, or KEY= to take one off", value), nil
		}
		says := fmt.Sprintf("Set label %s=%s on %s? Tasks whose constraints it no longer meets move away.", k, v, namesOf(on))
		if v == "" {
			says = fmt.Sprintf("Take label %s off %s? Tasks whose constraints need it move away.", k, namesOf(on))
		}
		return m.ask(says, every(on, func(id, name string) feed.Change {
			return feed.EditNode(id, name, func(s *swarm.NodeSpec) {
				if s.Labels == nil {
					s.Labels = map[string]string{}
				}
				if s.Labels[k] = v; v == "" {
					delete(s.Labels, k)
				}
			})
		})...), nil
	}
	if len(args) > 0 {
		return to(m, args[0])
	}
	return m.prompted(prompt{label: "Label of " + clean(namesOf(on)) + ": ", done: to}, ""), nil
}

func remove(m model, on []target, _ []string) (model, tea.Cmd) {
	if on[0].view == "tasks" || on[0].view == "stats" {
		var changes []feed.Change
		for _, t := range on {
			task, ok := t.v.(*feed.Task)
			if !ok || !task.Running() {
				return m.said("✗ %s does not run", t.name), nil
			}
			changes = append(changes, feed.StopTask(task.Container, t.name))
		}
		return m.ask(fmt.Sprintf("Stop %s? The container is stopped; the service replaces it, if its restart policy says so.", namesOf(on)), changes...), nil
	}
	view := on[0].view
	says := map[string]string{
		"stacks":   "Remove stack %s? Its services, networks, secrets and configs go; volumes stay. This cannot be undone.",
		"services": "Remove %s? Its tasks are stopped. This cannot be undone.",
		"nodes":    "Remove node %s from the cluster? It must be down or have left. This cannot be undone.",
		"volumes":  "Remove volume %s and all that is in it? This cannot be undone.",
	}[view]
	if says == "" {
		says = "Remove " + strings.TrimSuffix(view, "s") + " %s? One that is in use is refused. This cannot be undone."
	}
	return m.ask(fmt.Sprintf(says, namesOf(on)), every(on, func(id, name string) feed.Change { return feed.Remove(view, id, name) })...), nil
}
