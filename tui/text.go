package tui

import (
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"orch/tui/feed"
)

// keptLines is how far back a log can be scrolled; what is older is let go.
const keptLines = 10_000

// textRead brings the whole of a text, or why there is none.
type textRead struct {
	text  int
	lines []string
	err   error
}

// logOpened brings a log that can be followed.
type logOpened struct {
	text int
	log  *feed.Log
}

// logRead brings the next lines of a log.
type logRead struct {
	text  int
	lines []string
	ended bool
}

// openText goes into the log or the description of the row under the cursor.
func (m model) openText(view string) (model, tea.Cmd) {
	p := m.here()
	if p.cursor >= len(m.rows) {
		return m, nil
	}
	r := m.rows[p.cursor]
	m.texts++
	m.trail = append(slices.Clone(m.trail), place{view: view, text: m.texts, title: view + " of " + r.cells[views[p.view].name]})
	m.rows = nil
	text, ctx, c := m.texts, m.ctx, m.client
	if view == "logs" {
		return m, func() tea.Msg { return logOpened{text, feed.OpenLog(ctx, c, p.view, r.id)} }
	}
	return m, func() tea.Msg {
		lines, err := feed.Inspect(ctx, c, p.view, r.id)
		return textRead{text, lines, err}
	}
}

// nextLines waits for more of a log.
func nextLines(text int, log *feed.Log) tea.Cmd {
	return func() tea.Msg {
		lines, more := <-log.Lines
		return logRead{text, lines, !more}
	}
}

// received takes what was read into its place. What belongs to a place that was left is dropped, and its log closed.
func (m model) received(msg tea.Msg) (model, tea.Cmd) {
	p := m.here()
	switch msg := msg.(type) {
	case textRead:
		if msg.text == p.text {
			p.lines = msg.lines
			if msg.err != nil {
				p.lines = []string{"✗ " + msg.err.Error()}
			}
			return m.at(p).listed(), nil
		}
	case logOpened:
		if msg.text != p.text {
			msg.log.Close()
			return m, nil
		}
		p.log = msg.log
		return m.at(p), nextLines(p.text, p.log)
	case logRead:
		if msg.text != p.text {
			return m, nil
		}
		if msg.ended {
			msg.lines = []string{"── the log ends here ──"}
		}
		follows := p.cursor >= len(m.rows)-1
		p.lines = appended(p.lines, msg.lines)
		m = m.at(p).listed()
		if p = m.here(); follows {
			p.cursor = max(0, len(m.rows)-1)
			m = m.at(p)
		}
		if msg.ended {
			return m, nil
		}
		return m, nextLines(p.text, p.log)
	}
	return m, nil
}

// appended copies, because earlier models hold the old slice. Colours of the program that logs are taken out.
func appended(old, more []string) []string {
	kept := make([]string, 0, len(old)+len(more))
	kept = append(kept, old[max(0, min(len(old), len(old)+len(more)-keptLines)):]...)
	for _, l := range more {
		kept = append(kept, strings.TrimRight(ansi.Strip(l), "\r"))
	}
	return kept
}

// left ends the log of a place that the user went away from.
func left(before, after model) {
	if p := before.here(); p.log != nil && p.text != after.here().text {
		p.log.Close()
	}
}
