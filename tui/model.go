package tui

import (
	"context"
	"slices"
	"time"
	"unicode"

	tea "charm.land/bubbletea/v2"

	"orch/tui/feed"
	"orch/tui/logstream"
)

const (
	// chrome is the lines around a screen: health, breadcrumb, footer.
	chrome = 3
	// tickEvery is how often ages are written anew.
	tickEvery = 2 * time.Second
	wheelRows = 3
)

// clusterChanged brings a new snapshot, metered measurements, ticked the time.
type clusterChanged struct{ state *feed.State }
type metered struct{ u feed.Usage }
type ticked time.Time

// logOpened brings a log that can be followed, logRead its next lines.
type logOpened struct {
	id  int
	log *feed.Log
}
type logRead struct {
	id    int
	lines []logstream.Line
	ended bool
}

// model is the whole dashboard. It is a value: Update returns another one and does no I/O; that is what commands do.
type model struct {
	outside
	state    *feed.State
	usage    *meters
	now      time.Time
	trail    []screen // the last is on screen; the others are the way back
	keys     keyMap
	look     theme
	light    bool // what the terminal's background is
	asked    *question
	typing   *prompt
	note     string // how the last change ended, until the next key
	opened   int    // how many texts, logs and forwardings were opened; numbers the next
	forwards []forwarding
	stops    map[int]context.CancelFunc // of forwardings

	remembered    memory
	mouse         bool
	wanted        []string // nodes that are measured
	wantedTasks   bool     // and their tasks
	width, height int
}

// outside is what commands reach the world by.
type outside struct {
	ctx      context.Context // of the program
	pool     *feed.Pool
	meter    *feed.Meter
	deployer feed.Deployer
	program  []string // orch itself, for shells
	editor   []string
	tell     func(tea.Msg)
}

func (m model) Init() tea.Cmd { return tea.Batch(tick(), tea.RequestBackgroundColor) }

func tick() tea.Cmd { return tea.Tick(tickEvery, func(t time.Time) tea.Msg { return ticked(t) }) }

func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	next, cmd := m.update(msg)
	if measure := next.measures(); measure != nil {
		cmd = tea.Batch(cmd, measure(&next))
	}
	return next, tea.Batch(cmd, closing(m, next))
}

func (m model) update(msg tea.Msg) (model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		return m.refreshed(), nil
	case tea.BackgroundColorMsg:
		m.light = !msg.IsDark()
		return m.themed(), nil
	case clusterChanged:
		m.state, m.now = msg.state, later(m.now, msg.state.At)
		return m.refreshed(), nil
	case metered:
		m.usage.take(msg.u)
		if t, ok := m.here().(table); ok && t.measuring() { // other screens read it when they are drawn
			return m.refreshed(), nil
		}
		return m, nil
	case ticked:
		m.now = time.Time(msg)
		return m, tick()
	case tea.KeyPressMsg, tea.PasteMsg:
		return m.input(msg)
	case tea.MouseClickMsg:
		return m.click(msg)
	case tea.MouseWheelMsg:
		return m.wheel(msg), nil
	}
	return m.received(msg)
}

// received takes in what commands bring.
func (m model) received(msg tea.Msg) (model, tea.Cmd) {
	switch msg := msg.(type) {
	case textRead:
		return m.textRead(msg), nil
	case logOpened:
		return m.logOpened(msg)
	case logRead:
		return m.logRead(msg)
	case planned:
		return m.planned(msg), nil
	case editing:
		return m, m.editing(msg.e)
	case edited:
		return m, finishEdit(msg)
	case differs:
		return m.differs(msg), nil
	case changed:
		if msg.err != nil {
			return m.said("✗ %v", msg.err), nil
		}
		return m.said("✓ %s changed", msg.what), nil
	case done:
		if msg.err != nil {
			return m.said("✗ %v", msg.err), nil
		}
		return m.said("%s", msg.what), nil
	case forwardOpened:
		m.forwards = append(slices.Clone(m.forwards), msg.f)
		m.stops[msg.f.id] = msg.stop
		return m.said("%s is port %d of %s", msg.f.local, msg.f.port, msg.f.name).refreshed(), nil
	case forwardFailed:
		m.forwards = slices.Clone(m.forwards)
		for i := range m.forwards {
			if m.forwards[i].id == msg.id {
				m.forwards[i].failed = msg.err.Error()
			}
		}
		return m.said("✗ %v", msg.err).refreshed(), nil
	}
	return m, nil
}

func (m model) input(msg tea.Msg) (model, tea.Cmd) {
	k, isKey := msg.(tea.KeyPressMsg)
	if isKey && k.Mod.Contains(tea.ModAlt) {
		return m.escaped(k)
	}
	switch {
	case isKey && k.String() == "ctrl+c":
		return m, tea.Quit
	case m.asked != nil && isKey:
		return m.answered(k)
	case m.typing != nil:
		return m.typed(msg)
	case !isKey:
		return m, nil // pasted where nothing is typed
	}
	m.note = ""
	c, ok := m.lookup(k.String())
	if !ok {
		return m, nil
	}
	return c.run(m, c.about(m.here().targets(m.env())), nil)
}

// escaped takes Esc and a key that came right after it for what they are: over a slow link they arrive together, as Alt and that key.
func (m model) escaped(k tea.KeyPressMsg) (model, tea.Cmd) {
	m, first := m.input(tea.KeyPressMsg{Code: tea.KeyEscape})
	if k.Mod.Contains(tea.ModShift) {
		k.Code = unicode.ToUpper(k.Code)
	}
	k.Mod &^= tea.ModAlt | tea.ModShift
	if k.Mod == 0 && k.Text == "" && k.Code < tea.KeyExtended && k.Code >= ' ' && k.Code != tea.KeyBackspace {
		k.Text = string(k.Code)
	}
	m, second := m.input(k)
	return m, tea.Sequence(first, second)
}

func (m model) click(msg tea.MouseClickMsg) (model, tea.Cmd) {
	line := msg.Y - (chrome - 1)
	if msg.Button != tea.MouseLeft || line < 0 || line >= m.env().height || m.asked != nil || m.typing != nil {
		return m, nil
	}
	before, _ := m.here().(table)
	m = m.replaced(m.here().click(m.env(), line, msg.X))
	t, ok := m.here().(table)
	switch {
	case ok && line == 0:
		return m.laidOut(t), nil
	case ok && t.cursor == before.cursor && t.first+line-1 == t.cursor: // a second click on a row goes into it
		return deeper(m, nil, nil)
	}
	return m, nil
}

func (m model) wheel(msg tea.MouseWheelMsg) model {
	a, ok := map[tea.MouseButton]motion{tea.MouseWheelUp: up, tea.MouseWheelDown: down, tea.MouseWheelLeft: left, tea.MouseWheelRight: right}[msg.Button]
	if !ok {
		return m
	}
	for range wheelRows {
		m = m.replaced(m.here().move(m.env(), a))
	}
	return m
}

func (m model) here() screen { return m.trail[len(m.trail)-1] }

// env is what the screen on top draws from.
func (m model) env() env {
	return env{state: m.state, usage: m.usage, theme: m.look, now: m.now, width: max(1, m.width), height: max(1, m.height-chrome), forwards: m.forwards}
}

// replaced puts a screen in the place of the one on top; the trail is copied because models are values.
func (m model) replaced(s screen) model {
	m.trail = append(slices.Clone(m.trail[:len(m.trail)-1]), s)
	return m
}

func (m model) push(s screen) model {
	m.trail = append(slices.Clone(m.trail), m.laid(s))
	return m
}

// jump goes to a view that the way back does not lead out of.
func (m model) jump(s screen) model {
	m.trail = []screen{m.laid(s)}
	m.remembered.View = s.view()
	return m
}

// laid shows a table as its kind was looked at last.
func (m model) laid(s screen) screen {
	if t, ok := s.(table); ok {
		t.layout = m.remembered.Tables[t.kind.name]
		s = t
	}
	return s.changed(m.env())
}

func (m model) pop() model {
	if len(m.trail) > 1 {
		m.trail = m.trail[:len(m.trail)-1]
		return m.refreshed()
	}
	return m
}

func (m model) refreshed() model { return m.replaced(m.here().changed(m.env())) }

// themed applies the theme that is asked for.
func (m model) themed() model {
	name := m.remembered.Theme
	if name == "" || name == automatic {
		name = map[bool]string{false: "dark", true: "light"}[m.light]
	}
	m.look = themes[name]
	return m
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
