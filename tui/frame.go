package tui

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/docker/docker/api/types/swarm"
)

// chrome is the lines around the rows: health, breadcrumb, column names, footer.
const chrome = 4

// helpWidth lets two columns of help stand side by side on 80.
const helpWidth = 40

// frame draws the whole screen: exactly height lines, none wider than width.
func (m model) frame() string {
	body := max(0, m.height-chrome)
	lines := []string{m.health(), m.breadcrumb()}
	if m.help {
		lines = append(lines, m.helpLines(max(1, m.height-len(lines)-2))...)
	} else {
		lines = append(lines, m.table(body)...)
	}
	foot := []string{m.footer()}
	if m.asked != nil || m.note != "" { // to be read in full, over the rows if need be
		foot = strings.Split(ansi.Wrap(foot[0], max(1, m.width), ""), "\n")
	}
	foot = foot[:min(len(foot), max(1, m.height))]
	lines = lines[:min(len(lines), max(0, m.height-len(foot)))]
	for len(lines)+len(foot) < m.height {
		lines = append(lines, "")
	}
	lines = append(lines, foot...)
	for i, l := range lines {
		lines[i] = strings.TrimRight(fit(l, m.width), " ")
	}
	return strings.Join(lines, "\n")
}

// helpLines is the help: the key map of this view in as many columns as it takes to need no more than height lines.
func (m model) helpLines(height int) []string {
	var cells []string
	for _, b := range keyMap {
		if b.works(m.here().view) {
			cells = append(cells, fit(fmt.Sprintf("  %-10s %s", strings.Join(b.keys, " "), b.help), helpWidth))
		}
	}
	lines := []string{"KEYS"}
	for i := range min(height, len(cells)) {
		var line strings.Builder
		for j := i; j < len(cells); j += height {
			line.WriteString(cells[j])
		}
		lines = append(lines, line.String())
	}
	return lines
}

func (m model) health() string {
	switch s := m.state; {
	case s.Err != nil && s.At.IsZero():
		return "✗ " + clean(m.host+": "+s.Err.Error())
	case s.Err != nil:
		return "! stale since " + s.StaleSince.Format("15:04:05") + ": " + clean(s.Err.Error())
	case s.At.IsZero():
		return "… reading " + clean(m.host)
	}
	ready, running := 0, 0
	for _, n := range m.state.Nodes {
		if n.Status.State == swarm.NodeStateReady {
			ready++
		}
	}
	for _, t := range m.state.Tasks {
		if t.Status.State == swarm.TaskStateRunning {
			running++
		}
	}
	mark, wrong := "✓ healthy", len(problems(m.state, ""))
	if wrong > 0 {
		mark = fmt.Sprintf("! %d wrong", wrong)
	}
	return fmt.Sprintf("%s  %d/%d nodes  %d services  %d tasks running", mark, ready, len(m.state.Nodes), len(m.state.Services), running)
}

func (m model) breadcrumb() string {
	titles := make([]string, len(m.trail))
	for i, p := range m.trail {
		titles[i] = clean(p.title)
	}
	return strings.Join(titles, " › ")
}

func (m model) footer() string {
	p := m.here()
	switch {
	case m.asked != nil:
		return clean(m.asked.String())
	case m.note != "":
		return clean(m.note)
	case m.typing:
		return "/" + clean(p.filter) + "_"
	case p.filter != "":
		return "/" + clean(p.filter)
	}
	return "? help  / filter  enter deeper  esc back  q quit" + m.extraKeys()
}

// extraKeys are the keys that only some views have.
func (m model) extraKeys() string {
	var out strings.Builder
	for _, b := range keyMap {
		if b.in != "" && b.works(m.here().view) {
			word, _, _ := strings.Cut(strings.TrimSuffix(b.help, ", live"), " ")
			out.WriteString("  " + b.keys[0] + " " + word)
		}
	}
	return out.String()
}

// table draws the column names and the rows around the cursor; rows off the screen cost nothing.
func (m model) table(body int) []string {
	p := m.here()
	v := views[p.view]
	first := max(0, p.cursor-body+1)
	shown := m.rows[min(first, len(m.rows)):min(first+body, len(m.rows))]
	widths := make([]int, len(v.columns))
	for i, c := range v.columns {
		widths[i] = len(c) + 1 // one for the mark of the sorted column
		for _, r := range shown {
			widths[i] = max(widths[i], min(40, ansi.StringWidth(clean(r.cells[i]))))
		}
	}
	widths[len(widths)-1] = m.width // the frame cuts it at the edge
	head := make([]string, len(v.columns))
	copy(head, v.columns)
	if !v.text {
		head[p.sort] += "▾"
	}
	lines := []string{"  " + joined(head, widths)}
	if len(m.rows) == 0 && body > 0 {
		return append(lines, "  "+m.emptyText(v))
	}
	for i, r := range shown {
		mark := "  "
		if first+i == p.cursor {
			mark = "> "
		}
		lines = append(lines, mark+joined(r.cells, widths))
	}
	return lines
}

func (m model) emptyText(v view) string {
	switch {
	case m.state.At.IsZero():
		return "Waiting for the cluster."
	case m.here().filter != "":
		return "No row matches the filter."
	}
	return v.empty
}

func joined(cells []string, widths []int) string {
	out := make([]string, len(cells))
	for i, c := range cells {
		out[i] = fit(clean(c), widths[i])
	}
	return strings.TrimRight(strings.Join(out, "  "), " ")
}
