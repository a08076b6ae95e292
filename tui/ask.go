package tui

import (
	"fmt"
	"strconv"

	tea "charm.land/bubbletea/v2"

	"orch/tui/feed"
)

// question is a change that waits for the user's yes; for a scale, for the number too.
type question struct {
	change feed.Change
	says   string
	number string
}

// changed tells how a change ended.
type changed struct {
	what string
	err  error
}

// asks makes the question for the row under the cursor.
func (m model) asks(b binding) model {
	p := m.here()
	if p.cursor >= len(m.rows) {
		return m
	}
	r := m.rows[p.cursor]
	c := feed.Change{Kind: b.kind, ID: r.id, Name: r.cells[views[p.view].name], Availability: b.to}
	m.asked = &question{change: c, says: says(c, m.rows[p.cursor].cells)}
	return m
}

// says is what a change will do, in words.
func says(c feed.Change, cells []string) string {
	switch c.Kind {
	case feed.Scale:
		return fmt.Sprintf("Scale %s, now %s, to how many tasks?", c.Name, cells[2])
	case feed.Restart:
		return fmt.Sprintf("Restart %s? Its tasks (%s) are replaced, as its update settings say.", c.Name, cells[2])
	case feed.Rollback:
		return fmt.Sprintf("Roll %s back? Its previous spec is deployed again.", c.Name)
	case feed.RemoveService:
		return fmt.Sprintf("Remove %s? Its tasks (%s) are stopped. This cannot be undone.", c.Name, cells[2])
	}
	switch c.Availability {
	case "drain":
		return fmt.Sprintf("Drain %s? Its %s tasks move to other nodes.", c.Name, cells[4])
	case "pause":
		return fmt.Sprintf("Pause %s? Its %s tasks stay, it gets no new ones.", c.Name, cells[4])
	}
	return fmt.Sprintf("Activate %s? It gets new tasks again.", c.Name)
}

// answered takes a key while a question is on screen.
func (m model) answered(k tea.KeyPressMsg) (model, tea.Cmd) {
	q := *m.asked
	scale := q.change.Kind == feed.Scale
	switch key := k.String(); {
	case key == "esc" || key == "n":
		m.asked = nil
		return m, nil
	case scale && key == "backspace" && q.number != "":
		q.number = q.number[:len(q.number)-1]
	case scale && len(key) == 1 && key >= "0" && key <= "9":
		q.number += key
	case scale && key == "enter", !scale && key == "y":
		if scale {
			n, err := strconv.ParseUint(q.number, 10, 32)
			if err != nil {
				return m, nil // no number yet, or one too long
			}
			q.change.Replicas = n
		}
		m.asked = nil
		ctx, client, c := m.ctx, m.client, q.change
		return m, func() tea.Msg { return changed{c.Name, feed.Apply(ctx, client, c)} }
	}
	m.asked = &q
	return m, nil
}

func (q question) String() string {
	if q.change.Kind == feed.Scale {
		return q.says + " " + q.number + "_  (enter, esc)"
	}
	return q.says + "  (y, n)"
}
