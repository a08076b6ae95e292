package tui

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/docker/docker/api/types/swarm"
)

func (m model) View() tea.View {
	v := tea.NewView(m.frame())
	v.AltScreen = true
	v.WindowTitle = "orch " + clean(m.here().title())
	if m.mouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	return v
}

// frame draws the whole screen: exactly height lines, none wider than width.
func (m model) frame() string {
	e := m.env()
	foot := m.footer(e)
	lines := append([]string{m.health(e), m.breadcrumb(e)}, m.here().draw(e)...)
	lines = lines[:min(len(lines), max(0, m.height-len(foot)))]
	for len(lines)+len(foot) < m.height {
		lines = append(lines, "")
	}
	lines = append(lines, foot[:min(len(foot), m.height)]...)
	for i, l := range lines {
		if ansi.StringWidth(l) > m.width {
			l = ansi.Truncate(l, m.width, "…")
		}
		lines[i] = strings.TrimRight(l, " ") // what a colour fills ends with an escape sequence
	}
	return strings.Join(lines, "\n")
}

// health is the first line: what is wrong, and how large the cluster is; or since when it is not known.
func (m model) health(e env) string {
	s := m.state
	switch {
	case s.Err != nil && s.At.IsZero():
		return e.theme.paint(bad, clean("✗ "+s.Endpoint+": "+s.Err.Error()))
	case s.Err != nil:
		return e.theme.paint(bad, "! stale since "+s.StaleSince.Format("15:04:05")+": "+clean(s.Err.Error()))
	case s.At.IsZero():
		return "… reading " + clean(s.Endpoint)
	}
	ready, managers, reachable, leader, running := 0, 0, 0, "none", 0
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Status.State == swarm.NodeStateReady {
			ready++
		}
		if n.ManagerStatus == nil {
			continue
		}
		managers++
		if n.ManagerStatus.Reachability == swarm.ReachabilityReachable {
			reachable++
		}
		if n.ManagerStatus.Leader {
			leader = clean(n.Description.Hostname)
		}
	}
	for _, v := range s.Services {
		running += v.There
	}
	mark := e.theme.paint(good, "✓ healthy")
	if wrong := len(problems(s)); wrong > 0 {
		mark = e.theme.paint(bad, fmt.Sprintf("! %d wrong", wrong))
	}
	tasks := fmt.Sprintf("%d tasks", running)
	if s.Loading {
		mark, tasks = "… reading tasks", "? tasks"
	}
	line := fmt.Sprintf("%s  %d/%d nodes  %d/%d managers, leader %s  %d services  %s", mark, ready, len(s.Nodes), reachable, managers, leader, len(s.Services), tasks)
	if n := len(m.forwards); n > 0 {
		line += fmt.Sprintf("  %d forwarded", n)
	}
	return line
}

func (m model) breadcrumb(e env) string {
	titles := make([]string, len(m.trail))
	for i, s := range m.trail {
		titles[i] = clean(s.title())
	}
	line := e.theme.paint(accent, strings.Join(titles, " › "))
	if status := clean(m.here().status(e)); status != "" {
		line += e.theme.paint(dim, "  ["+status+"]")
	}
	return line
}

// footer is what waits for an answer, in full and over the rows if need be; or how the last change ended; or keys.
func (m model) footer(e env) []string {
	wrap := func(as tone, s string) []string {
		var out []string
		for _, l := range strings.Split(ansi.Wrap(clean(s), max(1, m.width), ""), "\n") {
			out = append(out, e.theme.paint(as, l))
		}
		return out
	}
	switch {
	case m.asked != nil:
		return wrap(warn, m.asked.says+"  (y, n)")
	case m.typing != nil:
		lines := wrap(normal, m.typing.shown())
		if all := m.completions(); len(all) > 0 {
			lines = append([]string{e.theme.paint(dim, fit(candidates(m.typing.input.Value(), all), m.width))}, lines...)
		}
		return lines
	case strings.HasPrefix(m.note, "✗"):
		return wrap(bad, m.note)
	case m.note != "":
		return wrap(good, m.note)
	}
	return []string{e.theme.paint(dim, m.hints())}
}

// hints are keys that work here: as many of this view's as there is room for, and after them those of all views.
func (m model) hints() string {
	own, general := []string{m.keyOf("help") + " help"}, []string(nil)
	for _, c := range commands {
		keys := m.keys.of(c)
		if len(keys) == 0 || !c.works(m.here().view()) {
			continue
		}
		hint := keys[0] + " " + c.id
		if keys[0] == c.id {
			hint = c.id
		}
		switch {
		case c.in != "" || c.on != "":
			own = append(own, hint)
		case hinted[c.id]:
			general = append(general, hint)
		}
	}
	after := strings.Join(general, "  ")
	room := m.width - len(after) - 2
	line := own[0]
	for _, hint := range own[1:] {
		if len(line)+2+len(hint) > room {
			break
		}
		line += "  " + hint
	}
	return line + "  " + after
}

// hinted are the keys of all views that are worth their place.
var hinted = map[string]bool{"enter": true, "back": true, "palette": true, "quit": true}

func (m model) keyOf(id string) string {
	if c, ok := find(id); ok {
		if keys := m.keys.of(c); len(keys) > 0 {
			return keys[0]
		}
	}
	return ":" + id
}
