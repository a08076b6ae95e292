package tui

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"orch/compose"
	"orch/tui/feed"
)

func deeper(m model, _ []target, _ []string) (model, tea.Cmd) {
	t, ok := m.here().(table)
	if !ok || t.cursor >= len(t.rows) {
		return m, nil
	}
	if r, ok := t.rows[t.cursor].v.(compose.Revision); ok {
		return showRevision(m, r)
	}
	if t.kind.enter == nil {
		return inspect(m, t.targets(m.env())[:1], nil)
	}
	next := t.kind.enter(m.env(), t.rows[t.cursor])
	switch s := next.(type) {
	case nil:
		return m, nil
	case logs:
		return m.openLogs(s)
	}
	return m.push(next), nil
}

func back(m model, _ []target, _ []string) (model, tea.Cmd) {
	switch s := m.here().(type) {
	case table:
		if s.filter != "" {
			s.filter = ""
			return m.replaced(s.changed(m.env())), nil
		}
		if len(s.marked) > 0 {
			s.marked = map[string]bool{}
			return m.replaced(s), nil
		}
	case logs:
		if s.filter != nil || s.search != "" {
			s.search = ""
			return m.replaced(s.filtered(nil)), nil
		}
	case text:
		if s.search != "" {
			s.search = ""
			return m.replaced(s), nil
		}
	}
	return m.pop(), nil
}

func showLogs(m model, on []target, _ []string) (model, tea.Cmd) {
	l := logsOf(on[0], m.env())
	if on[0].view == "stats" {
		on[0].view = "tasks"
		l = logsOf(on[0], m.env())
	}
	if len(on) > 1 { // several marked services in one
		for _, t := range on[1:] {
			more := logsOf(t, m.env())
			l.source.Services = append(l.source.Services, more.source.Services...)
		}
		l.of.name = namesOf(on)
	}
	return m.openLogs(l)
}

func inspect(m model, on []target, _ []string) (model, tea.Cmd) {
	t := on[0]
	if r, ok := t.v.(compose.Revision); ok {
		return showRevision(m, r)
	}
	view := t.view
	if view == "stats" {
		view = "tasks"
	}
	if view == "events" {
		return m, nil
	}
	return m.inspected(text{kind: "inspect", name: "inspect of " + t.name, of: target{view, t.id, t.name, t.v}})
}

// inspected reads what a text of inspect is about.
func (m model) inspected(t text) (model, tea.Cmd) {
	ctx, pool := m.ctx, m.pool
	return m.open(t, func() ([]string, error) {
		return feed.Inspect(ctx, pool.Current().API, t.of.view, t.of.id, t.asJSON)
	})
}

func asJSON(m model, _ []target, _ []string) (model, tea.Cmd) {
	t, ok := m.here().(text)
	if !ok {
		return m, nil
	}
	t.asJSON = !t.asJSON
	m.trail = m.trail[:len(m.trail)-1]
	return m.inspected(t)
}

func showRevision(m model, r compose.Revision) (model, tea.Cmd) {
	ctx, pool := m.ctx, m.pool
	return m.open(text{kind: "revision", name: fmt.Sprintf("revision %d of %s", r.Number, r.Stack)}, func() ([]string, error) {
		return feed.Revision(ctx, pool.Current().API, r.Stack, r.Number)
	})
}

func showHistory(m model, on []target, _ []string) (model, tea.Cmd) {
	return m.push(newTable(kinds["history"], scope{"stacks", on[0].id, "deploys of " + on[0].name})), nil
}

func showChart(m model, on []target, _ []string) (model, tea.Cmd) {
	t := on[0]
	if t.view == "stats" {
		t.view = "tasks"
	}
	return m.push(chart{of: t}), nil
}

func showHelp(m model, _ []target, _ []string) (model, tea.Cmd) {
	if m.here().view() == "help" {
		return m.pop(), nil
	}
	return m.push(text{kind: "help", name: "help", lines: m.helpLines(m.here().view())}), nil
}

// helpLines is the help of a view, made from the key map.
func (m model) helpLines(view string) []string {
	lines := []string{"KEYS of " + view}
	var rest []string
	for _, c := range commands {
		keys := strings.Join(m.keys.of(c), " ")
		line := fmt.Sprintf("  %-12s %-15s %s", keys, c.id, c.help)
		if c.works(view) && keys != "" {
			lines = append(lines, line)
			continue
		}
		if c.args != "" {
			line = fmt.Sprintf("  :%s %s", c.id, c.args)
			rest = append(rest, line)
		}
	}
	lines = append(lines, "", "IN THE PALETTE, from anywhere")
	return append(lines, rest...)
}

func filter(m model, _ []target, _ []string) (model, tea.Cmd) {
	t, ok := m.here().(table)
	if !ok {
		return m, nil
	}
	return m.prompted(prompt{label: "/", live: func(m model, value string) model {
		if t, ok := m.here().(table); ok {
			t.filter = value
			return m.replaced(t.changed(m.env()))
		}
		return m
	}}, t.filter), nil
}

func search(m model, _ []target, _ []string) (model, tea.Cmd) {
	return m.prompted(prompt{label: "search: ", live: func(m model, value string) model {
		switch s := m.here().(type) {
		case logs:
			s.search = value
			return m.replaced(s)
		case text:
			s.search = value
			return m.replaced(s)
		}
		return m
	}, done: func(m model, _ string) (model, tea.Cmd) {
		if t, ok := m.here().(text); ok {
			return m.replaced(t.sought(true)), nil
		}
		return m, nil
	}}, ""), nil
}

func seek(forth bool) func(model, []target, []string) (model, tea.Cmd) {
	return func(m model, _ []target, _ []string) (model, tea.Cmd) {
		switch s := m.here().(type) {
		case logs:
			return m.replaced(s.sought(forth)), nil
		case text:
			return m.replaced(s.sought(forth)), nil
		}
		return m, nil
	}
}

func onLogs(do func(logs) logs) func(model, []target, []string) (model, tea.Cmd) {
	return func(m model, _ []target, _ []string) (model, tea.Cmd) {
		if l, ok := m.here().(logs); ok {
			return m.replaced(do(l)), nil
		}
		return m, nil
	}
}

// options changes how logs are shown, this one and those to come.
func options(set func(*logOptions)) func(model, []target, []string) (model, tea.Cmd) {
	return func(m model, _ []target, _ []string) (model, tea.Cmd) {
		set(&m.remembered.Logs)
		if l, ok := m.here().(logs); ok {
			l.options = m.remembered.Logs
			return m.replaced(l), nil
		}
		return m, nil
	}
}

func grep(m model, _ []target, _ []string) (model, tea.Cmd) {
	return m.prompted(prompt{label: "only lines that match: ", done: func(m model, value string) (model, tea.Cmd) {
		l, ok := m.here().(logs)
		if !ok {
			return m, nil
		}
		if value == "" {
			return m.replaced(l.filtered(nil)), nil
		}
		by, err := regexp.Compile(value)
		if err != nil {
			return m.said("✗ %v", err), nil
		}
		return m.replaced(l.filtered(by)), nil
	}}, ""), nil
}

func since(m model, _ []target, _ []string) (model, tea.Cmd) {
	return m.prompted(prompt{label: "since (10m, or 2026-01-02T15:04:05): ", done: func(m model, value string) (model, tea.Cmd) {
		l, ok := m.here().(logs)
		if !ok {
			return m, nil
		}
		again := logs{of: l.of, source: l.source, began: "Opening the log.", filter: l.filter, search: l.search}
		again.source.Since = value
		return m.pop().openLogs(again)
	}}, ""), nil
}

func save(m model, _ []target, _ []string) (model, tea.Cmd) {
	return m.prompted(prompt{label: "save to: ", done: func(m model, path string) (model, tea.Cmd) {
		if path == "" {
			return m, nil
		}
		content := ""
		switch s := m.here().(type) {
		case logs:
			content = s.saved(m.env())
		case text:
			content = strings.Join(s.lines, "\n") + "\n"
		}
		return m, func() tea.Msg {
			return done{"saved to " + path, os.WriteFile(path, []byte(content), 0o600)} // a log may hold what is for nobody else
		}
	}}, ""), nil
}

func nextSort(m model, _ []target, _ []string) (model, tea.Cmd) {
	t, ok := m.here().(table)
	if !ok {
		return m, nil
	}
	names := []string{""}
	for _, c := range t.shown() {
		names = append(names, c.name)
	}
	t.layout.Sort, t.layout.Down = names[(slices.Index(names, t.layout.Sort)+1)%len(names)], false
	return m.laidOut(t), nil
}

func reverse(m model, _ []target, _ []string) (model, tea.Cmd) {
	if t, ok := m.here().(table); ok && t.layout.Sort != "" {
		t.layout.Down = !t.layout.Down
		return m.laidOut(t), nil
	}
	return m, nil
}

// laidOut remembers how a table is looked at.
func (m model) laidOut(t table) model {
	m.remembered.Tables = maps.Clone(m.remembered.Tables)
	if m.remembered.Tables == nil {
		m.remembered.Tables = map[string]layout{}
	}
	m.remembered.Tables[t.kind.name] = t.layout
	return m.replaced(t.changed(m.env()))
}

func columns(m model, _ []target, args []string) (model, tea.Cmd) {
	t, ok := m.here().(table)
	if !ok {
		return m, nil
	}
	toggle := func(m model, value string) (model, tea.Cmd) {
		t, ok := m.here().(table)
		if !ok {
			return m, nil
		}
		t.layout.Columns = maps.Clone(t.layout.Columns)
		if t.layout.Columns == nil {
			t.layout.Columns = map[string]bool{}
		}
		for _, name := range strings.Fields(value) {
			name = strings.ToUpper(name)
			if !slices.ContainsFunc(t.kind.columns, func(c column) bool { return c.name == name }) {
				return m.said("✗ no column %s", name), nil
			}
			if t.layout.Columns[name] = !t.layout.Columns[name]; !t.layout.Columns[name] {
				delete(t.layout.Columns, name)
			}
		}
		return m.laidOut(t), nil
	}
	if len(args) > 0 {
		return toggle(m, strings.Join(args, " "))
	}
	var names []string
	for _, c := range t.kind.columns {
		names = append(names, c.name)
	}
	return m.prompted(prompt{label: "show or hide: ", done: toggle, complete: func(_ model, value string) []string { return lastWord(value, names) }}, ""), nil
}

func mark(m model, _ []target, _ []string) (model, tea.Cmd) {
	t, ok := m.here().(table)
	if !ok {
		return m, nil
	}
	return m.replaced(t.marking().move(m.env(), down)), nil
}

func copied(m model, what func(target) string) (model, tea.Cmd) {
	var out []string
	for _, t := range m.here().targets(m.env()) {
		out = append(out, what(t))
	}
	if len(out) == 0 {
		return m, nil
	}
	return m.said("copied %s", strings.Join(out, ", ")), tea.SetClipboard(strings.Join(out, "\n"))
}

func copyName(m model, _ []target, _ []string) (model, tea.Cmd) {
	return copied(m, func(t target) string { return clean(t.name) })
}

func copyID(m model, _ []target, _ []string) (model, tea.Cmd) {
	return copied(m, func(t target) string { return t.id })
}

func changeTheme(m model, _ []target, args []string) (model, tea.Cmd) {
	names := themeNames()
	next := names[(slices.Index(names, m.remembered.Theme)+1)%len(names)]
	if len(args) > 0 {
		next = args[0]
	}
	if err := checkTheme(next); err != nil {
		return m.said("✗ %v", err), nil
	}
	m.remembered.Theme = next
	return m.themed().said("theme %s", next), nil
}
