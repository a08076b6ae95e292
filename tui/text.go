package tui

import (
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// text is the model of lines that are read once: inspect, a plan, a difference, what a deploy changed.
type text struct {
	id     int
	kind   string // the view: inspect, plan, diff, revision
	name   string
	of     target
	lines  []string
	first  int
	shift  int
	search string
	asJSON bool
	// offer is what can be done with what is read; nil for nothing.
	offer *question
}

func (t text) view() string { return t.kind }

func (t text) title() string { return t.name }

func (t text) status(env) string {
	if t.search == "" {
		return ""
	}
	n := 0
	for _, l := range t.lines {
		if strings.Contains(strings.ToLower(l), strings.ToLower(t.search)) {
			n++
		}
	}
	return fmt.Sprintf("search %s: %d lines", t.search, n)
}

func (t text) changed(env) screen { return t }

func (t text) targets(env) []target {
	if t.of.view == "" {
		return nil
	}
	return []target{t.of}
}

func (t text) measured(env) []string { return nil }

func (t text) click(env, int, int) screen { return t }

func (t text) move(e env, a motion) screen {
	switch a {
	case left:
		t.shift = max(0, t.shift-sideways)
	case right:
		t.shift += sideways
	case up, down, pageUp, pageDown:
		t.first = moved(t.first, a, e.height, max(1, len(t.lines)-e.height+1))
	case top:
		t.first = 0
	case bottom:
		t.first = max(0, len(t.lines)-e.height)
	}
	return t
}

// sought moves to the next line that holds what is searched for.
func (t text) sought(forth bool) text {
	holds := func(l string) bool { return strings.Contains(strings.ToLower(l), strings.ToLower(t.search)) }
	if forth {
		if i := slices.IndexFunc(t.lines[min(t.first+1, len(t.lines)):], holds); i >= 0 {
			t.first += 1 + i
		}
		return t
	}
	for i := t.first - 1; i >= 0; i-- {
		if holds(t.lines[i]) {
			t.first = i
			break
		}
	}
	return t
}

func (t text) draw(e env) []string {
	var out []string
	for _, l := range t.lines[min(t.first, len(t.lines)):min(t.first+e.height, len(t.lines))] {
		l = clean(l)
		as := normal
		if t.kind != "inspect" {
			switch {
			case strings.HasPrefix(l, "+"):
				as = good
			case strings.HasPrefix(l, "-"):
				as = bad
			case strings.HasPrefix(l, "~"), strings.HasPrefix(l, "warning"):
				as = warn
			}
		}
		if t.shift > 0 {
			l = string([]rune(l)[min(t.shift, len([]rune(l))):])
		}
		out = append(out, e.theme.paint(as, highlight(e.theme, strings.TrimRight(fit(l, e.width), " "), t.search)))
	}
	return out
}

// textRead brings the whole of a text, or why there is none.
type textRead struct {
	id    int
	lines []string
	err   error
}

// open puts a text that is being read on top; read brings its lines.
func (m model) open(t text, read func() ([]string, error)) (model, tea.Cmd) {
	m.opened++
	t.id, t.lines = m.opened, []string{"Reading."}
	id := m.opened
	return m.push(t), func() tea.Msg {
		lines, err := read()
		return textRead{id, lines, err}
	}
}

// textRead takes what was read to where it belongs; the user may have gone on since.
func (m model) textRead(msg textRead) model {
	for i, s := range m.trail {
		if t, ok := s.(text); ok && t.id == msg.id {
			t.lines, t.first = msg.lines, 0
			if msg.err != nil {
				t.lines = strings.Split("✗ "+msg.err.Error(), "\n")
			}
			m.trail = slices.Clone(m.trail)
			m.trail[i] = t
		}
	}
	return m
}
