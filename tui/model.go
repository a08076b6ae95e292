package tui

import (
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"orch/tui/feed"
)

// clusterChanged brings a new snapshot.
type clusterChanged feed.State

// place is where the user is: a view, narrowed to a parent, and the way it is looked at.
type place struct {
	view, scope, title string
	filter             string
	sort, cursor       int
}

type model struct {
	host          string
	state         feed.State
	trail         []place // the last is on screen; the others are the way back
	rows          []row   // of the last place, filtered and sorted; made once per change, not per frame
	typing, help  bool
	width, height int
}

func newModel(host, name string) (model, error) {
	if name == "" {
		name = "overview"
	}
	if _, ok := views[name]; !ok {
		return model{}, fmt.Errorf("no view %q; there are %s", name, viewNames())
	}
	return model{host: host, trail: []place{{view: name, title: name}}, width: 80, height: 24}, nil
}

func (m model) Init() tea.Cmd { return nil }

func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case clusterChanged:
		m.state = feed.State(msg)
		return m.listed(), nil
	case tea.KeyPressMsg:
		if m.typing {
			return m.typed(msg), nil
		}
		if b, ok := lookup(msg.String()); ok {
			if b.do == quit {
				return m, tea.Quit
			}
			return m.act(b).listed(), nil
		}
	}
	return m, nil
}

func (m model) View() tea.View {
	v := tea.NewView(m.frame())
	v.AltScreen = true
	return v
}

func (m model) here() place { return m.trail[len(m.trail)-1] }

// at returns the model with its place replaced; the trail is copied because models are values.
func (m model) at(p place) model {
	m.trail = append(slices.Clone(m.trail[:len(m.trail)-1]), p)
	return m
}

// listed makes the rows again and keeps the cursor on one of them.
func (m model) listed() model {
	p := m.here()
	m.rows = list(m.state, p)
	p.cursor = max(0, min(p.cursor, len(m.rows)-1))
	return m.at(p)
}

// list is the filtered and sorted content of a place.
func list(s feed.State, p place) []row {
	v := views[p.view]
	rows := v.rows(s, p.scope)
	if want := strings.ToLower(p.filter); want != "" {
		rows = slices.DeleteFunc(rows, func(r row) bool {
			return !strings.Contains(strings.ToLower(strings.Join(r.cells, " ")), want)
		})
	}
	if p.view == "events" && p.sort == 0 {
		return rows // already newest first
	}
	slices.SortStableFunc(rows, func(a, b row) int { return strings.Compare(a.cells[p.sort], b.cells[p.sort]) })
	return rows
}

// typed edits the filter.
func (m model) typed(k tea.KeyPressMsg) model {
	p := m.here()
	switch k.String() {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, p.filter = false, ""
	case "backspace":
		if r := []rune(p.filter); len(r) > 0 {
			p.filter = string(r[:len(r)-1])
		}
	default:
		p.filter += k.Text
	}
	return m.at(p).listed()
}

func (m model) act(b binding) model {
	p := m.here()
	page := max(1, m.height-chrome)
	switch b.do {
	case up:
		p.cursor--
	case down:
		p.cursor++
	case pageUp:
		p.cursor -= page
	case pageDown:
		p.cursor += page
	case top:
		p.cursor = 0
	case bottom:
		p.cursor = len(m.rows)
	case startFilter:
		m.typing = true
	case nextSort:
		p.sort = (p.sort + 1) % len(views[p.view].columns)
	case toggleHelp:
		m.help = !m.help
	case openView:
		m.help = false
		m.trail = []place{{view: b.view, title: b.view}}
		return m
	case enter:
		return m.deeper(p)
	case back:
		return m.back(p)
	}
	return m.at(p)
}

func (m model) deeper(p place) model {
	next := views[p.view].deeper
	if next == "" || m.help || p.cursor >= len(m.rows) {
		return m
	}
	r := m.rows[p.cursor]
	m.trail = append(slices.Clone(m.trail), place{view: next, scope: r.id, title: r.cells[0]})
	return m
}

func (m model) back(p place) model {
	switch {
	case m.help:
		m.help = false
	case p.filter != "":
		p.filter = ""
		return m.at(p)
	case len(m.trail) > 1:
		m.trail = m.trail[:len(m.trail)-1]
	}
	return m
}
