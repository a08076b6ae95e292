package tui

import (
	"context"
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/docker/docker/client"

	"orch/tui/feed"
)

// clusterChanged brings a new snapshot.
type clusterChanged feed.State

// place is where the user is: a view, narrowed to a parent, and the way it is looked at.
type place struct {
	view, scope, title string
	filter             string
	sort, cursor       int

	text  int // names the text that is shown, 0 for none
	lines []string
	log   *feed.Log // while it is open
}

type model struct {
	ctx           context.Context // of the program, for the work that commands start
	client        client.APIClient
	host          string
	state         feed.State
	trail         []place // the last is on screen; the others are the way back
	rows          []row   // of the last place, filtered and sorted; made once per change, not per frame
	typing, help  bool
	texts         int       // how many texts were opened; numbers the next
	asked         *question // nil where nothing is
	note          string    // how the last change ended, until the next key
	width, height int
}

func newModel(host, name string) (model, error) {
	if name == "" {
		name = "overview"
	}
	if v, ok := views[name]; !ok || v.text {
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
		return m.refreshed(), nil
	case textRead, logOpened, logRead:
		return m.received(msg)
	case changed:
		m.note = "✓ " + msg.what + " changed"
		if msg.err != nil {
			m.note = "✗ " + msg.err.Error()
		}
	case tea.KeyPressMsg:
		m.note = ""
		next, cmd := m.pressed(msg)
		left(m, next)
		return next, cmd
	}
	return m, nil
}

func (m model) pressed(k tea.KeyPressMsg) (model, tea.Cmd) {
	switch {
	case k.String() == "ctrl+c":
		return m, tea.Quit
	case m.asked != nil:
		return m.answered(k)
	case m.typing:
		return m.typed(k), nil
	}
	b, ok := lookup(k.String(), m.here().view)
	if !ok {
		return m, nil
	}
	if m.help && b.do != toggleHelp && b.do != back && b.do != openView && b.do != quit {
		return m, nil // the rows are out of sight
	}
	switch b.do {
	case quit:
		return m, tea.Quit
	case showLogs:
		return m.openText("logs")
	case showInspect:
		return m.openText("inspect")
	case ask:
		return m.asks(b), nil
	case enter:
		return m.deeper(m.here())
	}
	return m.act(b).listed(), nil
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

// refreshed makes the rows again with the cursor on the same object, so that no key hits another one that moved there.
func (m model) refreshed() model {
	p := m.here()
	if p.text != 0 {
		return m // a text does not come from the state
	}
	was := ""
	if p.cursor < len(m.rows) {
		was = m.rows[p.cursor].id
	}
	m = m.listed()
	if at := slices.IndexFunc(m.rows, func(r row) bool { return r.id == was }); was != "" && at >= 0 {
		p.cursor = at
		return m.at(p)
	}
	return m
}

// list is the filtered and sorted content of a place.
func list(s feed.State, p place) []row {
	v := views[p.view]
	rows := v.rows(s, p.scope)
	for _, l := range p.lines {
		rows = append(rows, row{cells: []string{l}})
	}
	if want := strings.ToLower(p.filter); want != "" {
		rows = slices.DeleteFunc(rows, func(r row) bool {
			return !strings.Contains(strings.ToLower(strings.Join(r.cells, " ")), want)
		})
	}
	if v.text || v.ordered && p.sort == 0 {
		return rows
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
	case back:
		return m.back(p)
	}
	return m.at(p)
}

func (m model) deeper(p place) (model, tea.Cmd) {
	v := views[p.view]
	if p.cursor >= len(m.rows) {
		return m, nil
	}
	r, next := m.rows[p.cursor], v.deeper
	if r.opens != "" {
		next = r.opens
	}
	switch {
	case next == "":
		return m, nil
	case views[next].text:
		return m.openText(next)
	}
	m.trail = append(slices.Clone(m.trail), place{view: next, scope: r.id, title: r.cells[v.name]})
	return m.listed(), nil
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
