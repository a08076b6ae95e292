package tui

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/usage"
	"orch/tui/feed"
)

// overviewEvents leaves the overview short; the events view has them all.
const overviewEvents = 10

// finding is a row of the overview: an object of any kind, and what is to be said about it.
type finding struct {
	view, id, name string
	v              any
	mark           string // ! for what is wrong, ~ for what is changing
	what, state    string
	as             tone
}

func nodeKind() *kind {
	rates := func(e env, v any) series { return e.usage.nodes[v.(*swarm.Node).ID] }
	return &kind{
		name: "nodes", empty: "No nodes.", enter: into("tasks", "nodes"),
		items: func(e env, _ scope) (out []item) {
			for i := range e.state.Nodes {
				n := &e.state.Nodes[i]
				out = append(out, item{n.ID, n.Description.Hostname, n})
			}
			return out
		},
		columns: append([]column{
			col("NODE", func(_ env, n *swarm.Node) string { return n.Description.Hostname }),
			col("ID", func(_ env, n *swarm.Node) string { return n.ID }).hidden(),
			col("STATE", func(_ env, n *swarm.Node) string { return nodeState(n) }).toned(nodeTone),
			col("ROLE", func(_ env, n *swarm.Node) string { return roleOf(n) }),
			col("TASKS", func(e env, n *swarm.Node) string { return fmt.Sprint(runningOn(e.state, n.ID)) }),
			col("SIZE", func(_ env, n *swarm.Node) string {
				r := n.Description.Resources
				return fmt.Sprintf("%d cpu %s", r.NanoCPUs/1e9, bytes(float64(r.MemoryBytes)))
			}),
		}, append(usageColumns(rates, capacity),
			col("ADDRESS", func(_ env, n *swarm.Node) string { return n.Status.Addr }).hidden(),
			col("ENGINE", func(_ env, n *swarm.Node) string { return n.Description.Engine.EngineVersion }),
			col("LABELS", func(_ env, n *swarm.Node) string { return labelsOf(n.Spec.Labels) }))...),
		measured: func(_ env, rows []item) (out []string) {
			for _, r := range rows {
				out = append(out, r.id)
			}
			return out
		},
	}
}

func capacity(_ env, v any) usage.Rates {
	r := v.(*swarm.Node).Description.Resources
	return usage.Rates{CPU: float64(r.NanoCPUs) / 1e9, Memory: float64(r.MemoryBytes)}
}

func overview() *kind {
	return &kind{
		name: "overview", empty: "Nothing here yet. Deploy an application: D, or `orch deploy`.",
		enter: func(e env, it item) screen {
			f := it.v.(*finding)
			if k := kinds[f.view]; k != nil && k.enter != nil {
				return k.enter(e, item{f.id, f.name, f.v})
			}
			return nil
		},
		items: func(e env, _ scope) (out []item) {
			for _, f := range slices.Concat(problems(e.state), changing(e.state), stackFindings(e), nodeFindings(e), recent(e.state)) {
				out = append(out, item{f.what + f.id, f.name, f})
			}
			return out
		},
		columns: []column{
			col("", func(_ env, f *finding) string { return f.mark }).toned(findingTone),
			col("WHAT", func(_ env, f *finding) string { return f.what }),
			col("NAME", func(_ env, f *finding) string { return f.name }),
			col("STATE", func(_ env, f *finding) string { return f.state }).toned(findingTone),
		},
		measured: func(e env, rows []item) (out []string) {
			for _, r := range rows {
				if f := r.v.(*finding); f.view == "nodes" {
					out = append(out, f.id)
				}
			}
			return out
		},
	}
}

func findingTone(_ env, v any) tone { return v.(*finding).as }

// problems are what is wrong right now.
func problems(s *feed.State) (out []*finding) {
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Status.State != swarm.NodeStateReady {
			out = append(out, &finding{view: "nodes", id: n.ID, name: n.Description.Hostname, v: n, mark: "!", what: "node", state: nodeState(n), as: bad})
		}
		if n := &s.Nodes[i]; n.ManagerStatus != nil && n.ManagerStatus.Reachability == swarm.ReachabilityUnreachable {
			out = append(out, &finding{view: "nodes", id: n.ID, name: n.Description.Hostname, v: n, mark: "!", what: "manager", state: "unreachable", as: bad})
		}
	}
	for _, v := range s.Services {
		f := &finding{view: "services", id: v.ID, name: v.Spec.Name, v: v, mark: "!", what: "service", as: bad}
		switch u := v.UpdateStatus; {
		case u != nil && (u.State == swarm.UpdateStatePaused || u.State == swarm.UpdateStateRollbackPaused):
			f.state = fmt.Sprintf("%s: %s (u resumes, b rolls back)", u.State, u.Message)
		case v.There < v.Desired && !underWay(v) && !s.Loading:
			f.state = tally(v.There, v.Desired) + " running"
			if v.Wrong != "" {
				f.state += ": " + v.Wrong
			}
		default:
			continue
		}
		out = append(out, f)
	}
	return out
}

// changing are the rollouts under way.
func changing(s *feed.State) (out []*finding) {
	for _, v := range s.Services {
		if underWay(v) {
			out = append(out, &finding{view: "services", id: v.ID, name: v.Spec.Name, v: v, mark: "~", what: "rollout", state: rollout(v), as: accent})
		}
	}
	return out
}

func stackFindings(e env) (out []*finding) {
	for _, t := range stacksOf(e.state) {
		out = append(out, &finding{view: "stacks", id: t.name, name: t.name, v: t, what: "stack",
			state: fmt.Sprintf("%s tasks of %d services", tallyOf(e, t.there, t.desired), t.services), as: tallied(e, t.there, t.desired)})
	}
	return out
}

func nodeFindings(e env) (out []*finding) {
	for i := range e.state.Nodes {
		n := &e.state.Nodes[i]
		state := fmt.Sprintf("%s, %d tasks", nodeState(n), runningOn(e.state, n.ID))
		if role := roleOf(n); role != "worker" && role != "" {
			state += ", " + role
		}
		if m := e.usage.nodes[n.ID]; len(m.values) > 0 {
			all := capacity(e, n)
			state += fmt.Sprintf("  cpu %s %.1f/%.0f  memory %s %s/%s", spark(m, 10, cpuOf, all.CPU), m.now().CPU, all.CPU, spark(m, 10, memoryOf, all.Memory), bytes(m.now().Memory), bytes(all.Memory))
		}
		out = append(out, &finding{view: "nodes", id: n.ID, name: n.Description.Hostname, v: n, what: "node", state: state, as: nodeTone(e, n)})
	}
	return out
}

func recent(s *feed.State) (out []*finding) {
	for i, m := range slices.Backward(s.Events[max(0, len(s.Events)-overviewEvents):]) {
		out = append(out, &finding{view: "events", id: fmt.Sprint(m.TimeNano, i), name: eventName(m), what: "event", as: dim,
			state: strings.TrimSpace(fmt.Sprintf("%s %s %s %s", eventTime(m), m.Type, m.Action, eventWhat(m)))})
	}
	return out
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
