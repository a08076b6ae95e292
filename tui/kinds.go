package tui

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/swarm"

	"orch/compose"
	"orch/internal/usage"
	"orch/tui/feed"
)

// kinds are the tables, by the name of their view. They are filled in by init, since they lead to each other.
var kinds map[string]*kind

func init() {
	kinds = map[string]*kind{}
	for _, k := range []*kind{
		overview(), stackKind(), serviceKind(), taskKind(), nodeKind(), statsKind(), historyKind(), eventKind(),
		networkKind(), volumeKind(), secretKind(), configKind(), imageKind(), forwardKind(),
	} {
		kinds[k.name] = k
	}
}

// into is a screen of a kind, narrowed to an object.
func into(view, of string) func(e env, it item) screen {
	return func(_ env, it item) screen { return newTable(kinds[view], scope{of, it.id, it.name}) }
}

// stack is the services of one, added up.
type stack struct {
	name                     string
	services, there, desired int
	updating                 []string
	wrong                    string
}

func stacksOf(s *feed.State) []*stack {
	all := map[string]*stack{}
	for _, v := range s.Services {
		if v.Stack == "" {
			continue
		}
		t := all[v.Stack]
		if t == nil {
			t = &stack{name: v.Stack}
			all[v.Stack] = t
		}
		t.services++
		t.there += v.There
		t.desired += v.Desired
		if underWay(v) {
			t.updating = append(t.updating, v.Spec.Name)
		}
		if v.Wrong != "" {
			t.wrong = v.Spec.Name + ": " + v.Wrong
		}
	}
	out := make([]*stack, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[name])
	}
	return out
}

// tally says how many are there.
func tally(there, desired int) string { return fmt.Sprintf("%d/%d", there, desired) }

// tallyOf is that of a service or stack, as far as it is known yet.
func tallyOf(e env, there, desired int) string {
	if e.state.Loading {
		return fmt.Sprintf("?/%d", desired)
	}
	return tally(there, desired)
}

func tallied(e env, there, desired int) tone {
	switch {
	case e.state.Loading:
		return dim
	case there >= desired:
		return good
	case there == 0:
		return bad
	}
	return warn
}

func stackKind() *kind {
	return &kind{
		name: "stacks", empty: "No stacks. Deploy one: D, or `orch deploy`.", enter: into("services", "stacks"),
		items: func(e env, _ scope) (out []item) {
			for _, s := range stacksOf(e.state) {
				out = append(out, item{s.name, s.name, s})
			}
			return out
		},
		columns: []column{
			col("STACK", func(_ env, s *stack) string { return s.name }),
			col("SERVICES", func(_ env, s *stack) string { return fmt.Sprint(s.services) }),
			col("TASKS", func(e env, s *stack) string { return tallyOf(e, s.there, s.desired) }).toned(func(e env, v any) tone { s := v.(*stack); return tallied(e, s.there, s.desired) }),
			col("UPDATING", func(_ env, s *stack) string { return strings.Join(s.updating, " ") }),
			col("WRONG", func(_ env, s *stack) string { return s.wrong }).toned(always(bad)),
		},
	}
}

func always(t tone) func(env, any) tone { return func(env, any) tone { return t } }

func underWay(v *feed.Service) bool {
	return v.UpdateStatus != nil && (v.UpdateStatus.State == swarm.UpdateStateUpdating || v.UpdateStatus.State == swarm.UpdateStateRollbackStarted)
}

// rollout is an update's state, with its progress while it is under way.
func rollout(v *feed.Service) string {
	u := v.UpdateStatus
	switch {
	case u == nil:
		return ""
	case feed.Paused(v):
		return fmt.Sprintf("held %s", progressBar(v.Fresh, v.Desired))
	case underWay(v):
		return fmt.Sprintf("%s %s", u.State, progressBar(v.Fresh, v.Desired))
	case u.State == swarm.UpdateStateCompleted:
		return "completed"
	}
	return string(u.State) + ": " + u.Message
}

// progressBar is n of all in words and ten cells.
func progressBar(n, all int) string {
	full := 0
	if all > 0 {
		full = min(10, n*10/all)
	}
	return fmt.Sprintf("%s%s %d/%d", strings.Repeat("█", full), strings.Repeat("░", 10-full), n, all)
}

func rolloutTone(_ env, v any) tone {
	u := v.(*feed.Service).UpdateStatus
	switch {
	case u == nil, u.State == swarm.UpdateStateCompleted:
		return dim
	case underWay(v.(*feed.Service)):
		return accent
	}
	return bad
}

func serviceKind() *kind {
	rates := func(e env, v any) series { return e.usage.service(e.state, v.(*feed.Service).ID) }
	return &kind{
		name: "services", empty: "No services.", enter: into("tasks", "services"),
		items: func(e env, s scope) (out []item) {
			for _, v := range e.state.Services {
				if s.id == "" || v.Stack == s.id {
					out = append(out, item{v.ID, v.Spec.Name, v})
				}
			}
			return out
		},
		columns: append([]column{
			col("SERVICE", func(_ env, v *feed.Service) string { return v.Spec.Name }),
			col("STACK", func(_ env, v *feed.Service) string { return v.Stack }).hidden(),
			col("MODE", func(_ env, v *feed.Service) string { return modeOf(v) }).hidden(),
			col("TASKS", func(e env, v *feed.Service) string { return tallyOf(e, v.There, v.Desired) }).toned(func(e env, v any) tone { s := v.(*feed.Service); return tallied(e, s.There, s.Desired) }),
			col("IMAGE", func(_ env, v *feed.Service) string { return imageOf(v) }),
			col("PORTS", func(_ env, v *feed.Service) string { return portsOf(v) }).hidden(),
			col("UPDATED", func(e env, v *feed.Service) string { return ago(e.now, v.UpdatedAt) }).by(func(e env, v any) float64 { return e.now.Sub(v.(*feed.Service).UpdatedAt).Seconds() }).hidden(),
		}, append(usageColumns(rates, nil),
			col("UPDATE", func(_ env, v *feed.Service) string { return rollout(v) }).toned(rolloutTone),
			col("WRONG", func(_ env, v *feed.Service) string { return v.Wrong }).toned(always(bad)))...),
		measured: func(e env, rows []item) (out []string) {
			for _, r := range rows {
				for _, t := range e.state.TasksOf(r.id) {
					out = append(out, t.NodeID)
				}
			}
			return out
		},
	}
}

// usageColumns are CPU, memory and network of what rates measures; full is what there is of it, nil where nobody knows.
func usageColumns(rates func(env, any) series, full func(env, any) usage.Rates) []column {
	make := func(name string, text func(float64) string, of func(usage.Rates) float64) column {
		return column{
			name: name,
			key:  func(e env, v any) float64 { return of(rates(e, v).now()) },
			cell: func(e env, v any) string {
				s := rates(e, v)
				if len(s.values) == 0 {
					return ""
				}
				most := 0.0
				if full != nil {
					most = of(full(e, v))
				}
				return fit(text(of(s.now())), 5) + spark(s, 6, of, most)
			},
		}
	}
	return []column{
		make("CPU", func(v float64) string { return fmt.Sprintf("%.2f", v) }, cpuOf),
		make("MEMORY", bytes, memoryOf),
		make("NET/S", bytes, netOf),
	}
}

func modeOf(v *feed.Service) string {
	switch m := v.Spec.Mode; {
	case m.Global != nil:
		return "global"
	case m.ReplicatedJob != nil, m.GlobalJob != nil:
		return "job"
	}
	return "replicated"
}

func imageOf(v *feed.Service) string {
	if c := v.Spec.TaskTemplate.ContainerSpec; c != nil {
		name, _, _ := strings.Cut(c.Image, "@")
		return name
	}
	return ""
}

func portsOf(v *feed.Service) string {
	var out []string
	for _, p := range v.Endpoint.Ports {
		out = append(out, fmt.Sprintf("%d→%d/%s", p.PublishedPort, p.TargetPort, p.Protocol))
	}
	return strings.Join(out, " ")
}

// taskState is a task's state, with what is known of its health.
func taskState(t *feed.Task) string {
	switch {
	case t.State == swarm.TaskStateRunning && t.Checked:
		return "running (healthy)"
	case t.State == swarm.TaskStateStarting && t.Checked:
		return "starting (not healthy yet)"
	}
	return string(t.State)
}

func taskTone(_ env, v any) tone {
	switch t := v.(*feed.Task); t.State {
	case swarm.TaskStateRunning, swarm.TaskStateComplete:
		return good
	case swarm.TaskStateFailed, swarm.TaskStateRejected, swarm.TaskStateOrphaned:
		return bad
	case swarm.TaskStateShutdown, swarm.TaskStateRemove:
		return dim
	}
	return warn
}

func taskColumns() []column {
	rates := func(e env, v any) series { return e.usage.tasks[v.(*feed.Task).ID] }
	return append([]column{
		col("TASK", func(_ env, t *feed.Task) string { return t.Name }),
		col("ID", func(_ env, t *feed.Task) string { return t.ID }).hidden(),
		col("NODE", func(_ env, t *feed.Task) string { return t.Host }),
		col("STATE", func(_ env, t *feed.Task) string { return taskState(t) }).toned(taskTone),
		col("SINCE", func(e env, t *feed.Task) string { return ago(e.now, t.Since) }).by(func(e env, v any) float64 { return e.now.Sub(v.(*feed.Task).Since).Seconds() }),
		col("DESIRED", func(_ env, t *feed.Task) string { return string(t.Desired) }).hidden(),
		col("IMAGE", func(_ env, t *feed.Task) string { return t.Image }).hidden(),
	}, append(usageColumns(rates, nil), col("ERROR", func(_ env, t *feed.Task) string { return t.Err }).toned(always(bad)))...)
}

// tasksIn are the tasks of a scope.
func tasksIn(s *feed.State, sc scope) []*feed.Task {
	switch sc.view {
	case "services":
		return s.TasksOf(sc.id)
	case "nodes":
		return s.TasksOn(sc.id)
	}
	return s.Tasks
}

func nodesOf(_ env, rows []item) (out []string) {
	for _, r := range rows {
		if t := r.v.(*feed.Task); t.Running() {
			out = append(out, t.NodeID)
		}
	}
	return out
}

func taskKind() *kind {
	return &kind{
		name: "tasks", columns: taskColumns(), empty: "No tasks.", measured: nodesOf,
		enter: func(e env, it item) screen { return logsOf(target{"tasks", it.id, it.name, it.v}, e) },
		items: func(e env, s scope) []item {
			tasks := tasksIn(e.state, s)
			out := make([]item, len(tasks))
			for i, t := range tasks {
				out[i] = item{t.ID, t.Name, t}
			}
			return out
		},
	}
}

// statsKind is the tasks that run, with what they use.
func statsKind() *kind {
	return &kind{
		name: "stats", columns: taskColumns(), empty: "Nothing runs.", measured: nodesOf,
		enter: func(_ env, it item) screen { return chart{of: target{"tasks", it.id, it.name, it.v}} },
		items: func(e env, s scope) (out []item) {
			for _, t := range tasksIn(e.state, s) {
				if t.Running() {
					out = append(out, item{t.ID, t.Name, t})
				}
			}
			return out
		},
	}
}

func historyKind() *kind {
	return &kind{
		name: "history", empty: "No history: it begins with a stack's first `orch deploy`.",
		items: func(e env, s scope) (out []item) {
			for _, r := range e.state.History {
				if s.id == "" || r.Stack == s.id {
					out = append(out, item{fmt.Sprintf("%s %d", r.Stack, r.Number), fmt.Sprintf("revision %d of %s", r.Number, r.Stack), r})
				}
			}
			return out
		},
		columns: []column{
			col("STACK", func(_ env, r compose.Revision) string { return r.Stack }),
			col("REVISION", func(_ env, r compose.Revision) string {
				return fmt.Sprint(r.Number) + map[bool]string{true: " *"}[r.Current]
			}),
			col("AGE", func(e env, r compose.Revision) string { return ago(e.now, r.Created) }).by(func(e env, v any) float64 { return e.now.Sub(v.(compose.Revision).Created).Seconds() }),
			col("BY", func(_ env, r compose.Revision) string { return r.By }),
			col("CHANGES", func(_ env, r compose.Revision) string { return r.Summary }),
			col("OUTCOME", func(_ env, r compose.Revision) string { return string(r.Outcome) }).toned(func(_ env, v any) tone {
				switch v.(compose.Revision).Outcome {
				case compose.OutcomeDone:
					return good
				case compose.OutcomeRunning, compose.OutcomeUnwatched:
					return warn
				}
				return bad
			}),
			col("NOTE", func(_ env, r compose.Revision) string { return strings.TrimSpace(r.Message + " " + r.Error) }),
		},
	}
}

func eventKind() *kind {
	return &kind{
		name: "events", empty: "No events since the dashboard was opened.",
		items: func(e env, _ scope) (out []item) {
			for i, m := range slices.Backward(e.state.Events) {
				out = append(out, item{fmt.Sprint(m.TimeNano, m.Actor.ID, i), eventName(m), m})
			}
			return out
		},
		columns: []column{
			col("TIME", func(_ env, m events.Message) string { return eventTime(m) }),
			col("TYPE", func(_ env, m events.Message) string { return string(m.Type) }),
			col("ACTION", func(_ env, m events.Message) string { return string(m.Action) }),
			col("NAME", func(_ env, m events.Message) string { return eventName(m) }),
			col("WHAT", func(_ env, m events.Message) string { return eventWhat(m) }),
		},
	}
}

func eventTime(m events.Message) string { return time.Unix(m.Time, 0).Format(time.TimeOnly) }

func eventName(m events.Message) string {
	if name := m.Actor.Attributes["name"]; name != "" {
		return name
	}
	return m.Actor.ID
}

// eventWhat are the attributes that say what has changed.
func eventWhat(m events.Message) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m.Actor.Attributes)) {
		if what, ok := strings.CutSuffix(k, ".new"); ok {
			out = append(out, fmt.Sprintf("%s %s → %s", what, m.Actor.Attributes[what+".old"], m.Actor.Attributes[k]))
		}
	}
	return strings.Join(out, ", ")
}
