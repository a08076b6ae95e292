package tui

import (
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/usage"
)

// chart is the model of one object's usage on the whole screen.
type chart struct{ of target }

func (c chart) view() string { return "chart" }

func (c chart) title() string { return "usage of " + c.of.name }

func (c chart) status(env) string { return "" }

func (c chart) changed(env) screen { return c }

func (c chart) targets(env) []target { return []target{c.of} }

func (c chart) click(env, int, int) screen { return c }

func (c chart) move(env, motion) screen { return c }

func (c chart) measured(e env) (out []string) {
	switch c.of.view {
	case "nodes":
		return []string{c.of.id}
	case "services":
		for _, t := range e.state.TasksOf(c.of.id) {
			out = append(out, t.NodeID)
		}
	case "tasks":
		if t := e.state.Task(c.of.id); t != nil {
			out = append(out, t.NodeID)
		}
	}
	return out
}

func (c chart) series(e env) series {
	switch c.of.view {
	case "nodes":
		return e.usage.nodes[c.of.id]
	case "services":
		return e.usage.service(e.state, c.of.id)
	}
	return e.usage.tasks[c.of.id]
}

// graph is one of the charts.
type graph struct {
	name string
	of   func(usage.Rates) float64
	text func(float64) string
	full float64
}

func (c chart) draw(e env) []string {
	s := c.series(e)
	if len(s.values) == 0 {
		why := "Measuring."
		for _, n := range c.measured(e) {
			if e.usage.failed[n] != "" {
				why = "✗ " + e.usage.failed[n]
			}
		}
		if len(c.measured(e)) == 0 {
			why = "It does not run."
		}
		return []string{"  " + clean(why)}
	}
	graphs := []graph{
		{name: "CPU", of: cpuOf, text: func(v float64) string { return fmt.Sprintf("%.2f processors", v) }},
		{name: "MEMORY", of: memoryOf, text: bytes},
		{name: "NETWORK IN", of: func(r usage.Rates) float64 { return r.In }, text: func(v float64) string { return bytes(v) + "/s" }},
		{name: "NETWORK OUT", of: func(r usage.Rates) float64 { return r.Out }, text: func(v float64) string { return bytes(v) + "/s" }},
	}
	if n, ok := c.of.v.(*swarm.Node); ok {
		all := capacity(e, n)
		graphs[0].full, graphs[1].full = all.CPU, all.Memory
	}
	each := max(2, e.height/len(graphs))
	var out []string
	for _, g := range graphs {
		out = append(out, g.draw(e, s, each)...)
	}
	return out[:min(len(out), e.height)]
}

// draw is a line that says how much, and height-1 lines of bars, two cells apart from the left edge.
func (g graph) draw(e env, s series, height int) []string {
	width := max(1, e.width-2)
	values := s.values[max(0, len(s.values)-width):]
	most, peak := g.full, 0.0
	for _, v := range values {
		peak = max(peak, g.of(v))
	}
	most = max(most, peak)
	head := fmt.Sprintf("%s  now %s  peak %s", g.name, g.text(g.of(s.now())), g.text(peak))
	if g.full > 0 {
		head += "  of " + g.text(g.full)
	}
	out := []string{e.theme.paint(heading, strings.TrimRight(fit(head, e.width), " "))}
	rows := height - 1
	for row := rows - 1; row >= 0; row-- {
		var line strings.Builder
		line.WriteString("  " + strings.Repeat(" ", width-len(values)))
		for _, v := range values {
			eighths := 0
			if most > 0 {
				eighths = int(g.of(v)/most*float64(rows*len(bars)) + 0.5)
			}
			switch part := eighths - row*len(bars); {
			case part >= len(bars):
				line.WriteRune('█')
			case part > 0:
				line.WriteRune(bars[part-1])
			case row == 0:
				line.WriteRune('▁')
			default:
				line.WriteRune(' ')
			}
		}
		out = append(out, e.theme.paint(accent, strings.TrimRight(fit(line.String(), e.width), " ")))
	}
	return out
}
