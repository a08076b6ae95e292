package tui

import (
	"slices"

	tea "charm.land/bubbletea/v2"

	"orch/tui/feed"
	"orch/tui/logstream"
)

// measures is the command that has other nodes measured than before, nil where they are the same.
func (m model) measures() func(*model) tea.Cmd {
	nodes := m.here().measured(m.env())
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	if i := slices.Index(nodes, ""); i >= 0 { // tasks that have none yet
		nodes = slices.Delete(nodes, i, i+1)
	}
	view := m.here().view()
	tasks := view != "overview" && view != "nodes"
	if c, ok := m.here().(chart); ok {
		tasks = c.of.view != "nodes"
	}
	if slices.Equal(nodes, m.wanted) && (tasks == m.wantedTasks || len(nodes) == 0) || m.meter == nil {
		return nil
	}
	return func(next *model) tea.Cmd {
		next.wanted, next.wantedTasks = nodes, tasks
		w := feed.Wanted{Orch: m.state.Orch, Self: m.state.Self, Nodes: nodes, Tasks: tasks, Local: map[string]string{}}
		if !w.Orch {
			for _, t := range m.state.TasksOn(w.Self) {
				if t.Running() {
					w.Local[t.ID] = t.Container
				}
			}
		}
		meter := m.meter
		return func() tea.Msg { meter.Want(w); return nil }
	}
}

// openLogs goes into a log.
func (m model) openLogs(l logs) (model, tea.Cmd) {
	m.opened++
	l.id, l.options = m.opened, m.remembered.Logs
	ctx, pool := m.ctx, m.pool
	return m.push(l), func() tea.Msg { return logOpened{l.id, feed.OpenLog(ctx, pool, l.source)} }
}

// follow goes into a log that is open already.
func (m model) follow(l logs, log *feed.Log) (model, tea.Cmd) {
	m.opened++
	l.id, l.options, l.log = m.opened, m.remembered.Logs, log
	return m.push(l), nextLines(l.id, log)
}

func (m model) logOpened(msg logOpened) (model, tea.Cmd) {
	for i, s := range m.trail {
		if l, ok := s.(logs); ok && l.id == msg.id {
			l.log = msg.log
			m.trail = slices.Clone(m.trail)
			m.trail[i] = l
			return m, nextLines(l.id, l.log)
		}
	}
	return m, func() tea.Msg { msg.log.Close(); return nil } // the user has left before it came
}

func (m model) logRead(msg logRead) (model, tea.Cmd) {
	for i, s := range m.trail {
		l, ok := s.(logs)
		if !ok || l.id != msg.id {
			continue
		}
		m.trail = slices.Clone(m.trail)
		if msg.ended {
			l = l.took([]logstream.Line{{Text: "── the log ends here ──"}})
			m.trail[i] = l
			return m, nil
		}
		m.trail[i] = l.took(msg.lines)
		return m, nextLines(l.id, l.log)
	}
	return m, nil
}

// nextLines waits for more of a log.
func nextLines(id int, log *feed.Log) tea.Cmd {
	return func() tea.Msg {
		lines, more := <-log.Lines
		return logRead{id, lines, !more}
	}
}

// closing ends the logs that are on the way no more.
func closing(before, after model) tea.Cmd {
	var close []func()
	for _, s := range before.trail {
		l, ok := s.(logs)
		if !ok || l.log == nil || slices.ContainsFunc(after.trail, func(o screen) bool { k, ok := o.(logs); return ok && k.id == l.id }) {
			continue
		}
		close = append(close, l.log.Close)
	}
	if close == nil {
		return nil
	}
	return func() tea.Msg {
		for _, c := range close {
			c()
		}
		return nil
	}
}
