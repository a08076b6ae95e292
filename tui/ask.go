package tui

import (
	"slices"
	"strings"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"orch/tui/feed"
)

// question is a change that waits for the user's yes. says is what will happen.
type question struct {
	says string
	yes  func(model) (model, tea.Cmd)
}

// prompt is a line that the user types.
type prompt struct {
	label string
	input textinput.Model
	// complete are the whole values that begin with what is typed.
	complete func(m model, value string) []string
	// live is called after every key, done with Enter; Esc drops what live did, by calling it with what there was before.
	live   func(m model, value string) model
	done   func(m model, value string) (model, tea.Cmd)
	before string
}

// changed tells how changes ended.
type changed struct {
	what string
	err  error
}

// ask puts a question.
func (m model) ask(says string, changes ...feed.Change) model {
	m.asked = &question{says, func(m model) (model, tea.Cmd) { return m, m.apply(changes) }}
	return m
}

// apply carries changes out, one after the other, and stops at the first that is refused.
func (m model) apply(changes []feed.Change) tea.Cmd {
	ctx, pool := m.ctx, m.pool
	return func() tea.Msg {
		var names []string
		for _, c := range changes {
			if err := feed.Apply(ctx, pool.Current().API, c); err != nil {
				return changed{strings.Join(names, ", "), err}
			}
			names = append(names, c.Name)
		}
		return changed{strings.Join(names, ", "), nil}
	}
}

// prompted has the user type a line.
func (m model) prompted(p prompt, value string) model {
	p.input = textinput.New()
	p.input.SetVirtualCursor(false)
	p.input.SetValue(value)
	p.input.CursorEnd()
	p.input.Focus()
	p.before = value
	m.typing = &p
	return m
}

// answered takes a key while a question is on screen.
func (m model) answered(k tea.KeyPressMsg) (model, tea.Cmd) {
	q := m.asked
	switch k.String() {
	case "y", "Y":
		m.asked = nil
		return q.yes(m)
	case "n", "N", "esc", "q":
		m.asked = nil
		m.note = "Nothing was changed."
	}
	return m, nil
}

// typed takes a key while a line is typed.
func (m model) typed(msg tea.Msg) (model, tea.Cmd) {
	p := *m.typing
	if k, ok := msg.(tea.KeyPressMsg); ok {
		switch k.String() {
		case "enter":
			m.typing = nil
			if p.done == nil {
				return m, nil
			}
			return p.done(m, p.input.Value())
		case "esc":
			m.typing = nil
			if p.live != nil {
				m = p.live(m, p.before)
			}
			return m, nil
		case "tab":
			if all := m.completions(); len(all) > 0 {
				p.input.SetValue(completed(p.input.Value(), all))
				p.input.CursorEnd()
			}
			m.typing = &p
			return m, nil
		}
	}
	p.input, _ = p.input.Update(msg) // its command blinks a cursor that is drawn otherwise
	m.typing = &p
	if p.live != nil {
		m = p.live(m, p.input.Value())
	}
	return m, nil
}

func (m model) completions() []string {
	if m.typing == nil || m.typing.complete == nil {
		return nil
	}
	return m.typing.complete(m, m.typing.input.Value())
}

// completed is what all candidates have in common; where that is nothing more, the first of them.
func completed(value string, all []string) string {
	common := all[0]
	for _, c := range all[1:] {
		for !strings.HasPrefix(c, common) {
			common = common[:len(common)-1]
		}
	}
	if len(common) > len(value) {
		return common
	}
	return all[0]
}

// shown is the line with its cursor.
func (p prompt) shown() string {
	runes := []rune(p.input.Value())
	at := min(p.input.Position(), len(runes))
	if at == len(runes) {
		return p.label + clean(string(runes)) + "_"
	}
	return p.label + clean(string(runes[:at])) + "_" + clean(string(runes[at:]))
}

// candidates is the line of completions: the words that would be next.
func candidates(value string, all []string) string {
	from := strings.LastIndexByte(value, ' ') + 1
	var words []string
	for _, c := range all {
		words = append(words, clean(c[min(from, len(c)):]))
	}
	return strings.Join(slices.Compact(words), "  ")
}
