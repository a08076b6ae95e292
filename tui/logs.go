package tui

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"orch/tui/feed"
	"orch/tui/logstream"
)

const (
	// keptLines is how far back a log can be scrolled; what is older is let go.
	keptLines = 10_000
	// widestName keeps task names from taking the lines' place.
	widestName = 32
	// sideways is how far left and right move a log that is not wrapped.
	sideways = 20
)

// logs is the model of a log: of a task, a service or a whole stack.
type logs struct {
	id      int // which opened log's lines are its own; given by the model
	of      target
	source  feed.Source
	log     *feed.Log // once it is open
	began   string    // until then, or how it ended
	options logOptions

	all    []logstream.Line // at most keptLines and a batch
	shown  []logstream.Line // those that the filter lets through
	bottom int              // how many lines of shown are seen or above; while following, all
	behind int              // lines that have come since it stopped following
	pause  bool
	shift  int
	filter *regexp.Regexp
	search string
}

// logOptions are how logs are shown; they are remembered.
type logOptions struct {
	Wrap  bool `json:"wrap,omitempty"`
	Times bool `json:"times,omitempty"`
}

// logsOf is a log that has yet to be opened.
func logsOf(t target, e env) logs {
	l := logs{of: t, began: "Opening the log."}
	switch t.view {
	case "tasks":
		l.source.Task = t.id
	case "services":
		l.source.Services = []string{t.id}
	case "stacks":
		for _, v := range e.state.Services {
			if v.Stack == t.id {
				l.source.Services = append(l.source.Services, v.ID)
			}
		}
	}
	return l
}

func (l logs) view() string { return "logs" }

func (l logs) title() string { return "logs of " + l.of.name }

func (l logs) status(env) string {
	var out []string
	if l.pause {
		out = append(out, fmt.Sprintf("paused, %d new", l.behind))
	} else {
		out = append(out, "following")
	}
	if l.source.Since != "" {
		out = append(out, "since "+l.source.Since)
	}
	if l.filter != nil {
		out = append(out, fmt.Sprintf("only /%s/: %d of %d", l.filter, len(l.shown), len(l.all)))
	}
	if l.search != "" {
		out = append(out, "search "+l.search)
	}
	return strings.Join(out, "  ")
}

func (l logs) changed(env) screen { return l }

func (l logs) targets(env) []target { return []target{l.of} }

func (l logs) measured(env) []string { return nil }

func (l logs) click(env, int, int) screen { return l }

// took takes lines in. The slices only ever grow at their ends or are copied, so that an earlier model's stay as they are.
func (l logs) took(lines []logstream.Line) logs {
	for i := range lines {
		lines[i].Text = strings.TrimRight(ansi.Strip(lines[i].Text), "\r\n")
	}
	fresh := lines
	if l.filter != nil {
		fresh = l.matching(lines)
		l.shown = bounded(append(l.shown, fresh...))
	}
	if l.all = bounded(append(l.all, lines...)); l.filter == nil {
		l.shown = l.all
	}
	if l.pause {
		l.behind += len(fresh)
		l.bottom = min(l.bottom, len(l.shown))
		return l
	}
	l.bottom = len(l.shown)
	return l
}

// bounded lets the oldest go once there are twice as many as are kept: copying them each time would cost more than they do.
func bounded(lines []logstream.Line) []logstream.Line {
	if len(lines) < 2*keptLines {
		return lines
	}
	return append(make([]logstream.Line, 0, 2*keptLines), lines[len(lines)-keptLines:]...)
}

func (l logs) matching(lines []logstream.Line) (out []logstream.Line) {
	for _, line := range lines {
		if l.filter.MatchString(line.Text) {
			out = append(out, line)
		}
	}
	return out
}

// filtered shows only lines that match; nil shows all.
func (l logs) filtered(by *regexp.Regexp) logs {
	l.filter, l.shown = by, l.all
	if by != nil {
		l.shown = l.matching(l.all)
	}
	l.bottom, l.pause, l.behind = len(l.shown), false, 0
	return l
}

// paused stops following, or follows again.
func (l logs) paused(on bool) logs {
	l.pause = on
	if !on {
		l.bottom, l.behind = len(l.shown), 0
	}
	return l
}

func (l logs) move(e env, a motion) screen {
	switch a {
	case left:
		l.shift = max(0, l.shift-sideways)
		return l
	case right:
		l.shift += sideways
		return l
	}
	n := len(l.shown)
	at := moved(l.bottom-1, a, e.height, n)
	l.bottom = max(min(at+1, n), min(e.height, n)) // the first page is a whole one
	return l.paused(l.bottom < n)
}

// sought moves to the next line that holds what is searched for, back or forth from the last one on screen.
func (l logs) sought(forth bool) logs {
	step := map[bool]int{true: 1, false: -1}[forth]
	for i := l.bottom - 1 + step; i >= 0 && i < len(l.shown); i += step {
		if strings.Contains(strings.ToLower(l.shown[i].Text), strings.ToLower(l.search)) {
			l = l.paused(true)
			l.bottom = i + 1
			return l
		}
	}
	return l
}

func (l logs) draw(e env) []string {
	if len(l.shown) == 0 {
		switch {
		case l.filter != nil && len(l.all) > 0:
			return []string{"  No line matches the filter."}
		case l.log != nil:
			return []string{"  Nothing logged yet."}
		}
		return []string{"  " + l.began}
	}
	names, width := l.names(e)
	var out []string // from the last line on screen up
	for i := l.bottom - 1; i >= 0 && len(out) < e.height; i-- {
		rows := l.row(e, l.shown[i], names[l.shown[i].Task], width)
		for k := len(rows) - 1; k >= 0 && len(out) < e.height; k-- {
			out = append(out, rows[k])
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// names are those of the tasks on screen, and the widest of them; a log of one task needs none.
func (l logs) names(e env) (names map[string]string, width int) {
	names = map[string]string{}
	if l.source.Task != "" {
		return names, 0
	}
	for _, line := range l.shown[max(0, l.bottom-e.height):l.bottom] {
		if line.Task == "" || names[line.Task] != "" {
			continue
		}
		name := line.Task[:min(12, len(line.Task))]
		if t := e.state.Task(line.Task); t != nil {
			name = t.Name
		}
		names[line.Task] = clean(name)
		width = max(width, min(widestName, ansi.StringWidth(names[line.Task])))
	}
	return names, width
}

// row is a line as it is shown: several where it is wrapped.
func (l logs) row(e env, line logstream.Line, name string, width int) []string {
	head := ""
	if width > 0 {
		head = e.theme.named(name, fit(name, width)) + " │ "
	}
	if l.options.Times {
		stamp := "            "
		if !line.Time.IsZero() {
			stamp = line.Time.Local().Format("15:04:05.000")
		}
		head += e.theme.paint(dim, stamp) + " "
	}
	text, room := clean(line.Text), e.width-ansi.StringWidth(head)
	if room < 8 { // a screen too narrow for names
		head, room = "", e.width
	}
	if !l.options.Wrap {
		if l.shift > 0 {
			text = ansi.TruncateLeft(text, l.shift, "")
		}
		return []string{head + l.lit(e, line, strings.TrimRight(fit(text, room), " "))}
	}
	var out []string
	for i, part := range strings.Split(ansi.Hardwrap(text, max(1, room), true), "\n") {
		if i > 0 {
			head = strings.Repeat(" ", e.width-room)
		}
		out = append(out, head+l.lit(e, line, part))
	}
	return out
}

// lit paints what was searched for, and what was written to standard error.
func (l logs) lit(e env, line logstream.Line, text string) string {
	text = highlight(e.theme, text, l.search)
	if line.Stderr {
		return e.theme.paint(warn, text)
	}
	return text
}

// highlight paints every place where what is found; n and N lead from one to the next where there are no colours.
func highlight(t theme, text, what string) string {
	if what == "" {
		return text
	}
	low, want := strings.ToLower(text), strings.ToLower(what)
	if len(low) != len(text) { // letters whose other case has another length
		return text
	}
	var out strings.Builder
	for {
		i := strings.Index(low, want)
		if i < 0 {
			out.WriteString(text)
			return out.String()
		}
		out.WriteString(text[:i] + t.paint(found, text[i:i+len(want)]))
		text, low = text[i+len(want):], low[i+len(want):]
	}
}

// saved is the log as text for a file.
func (l logs) saved(e env) string {
	var out strings.Builder
	for _, line := range l.shown {
		name := line.Task
		if t := e.state.Task(line.Task); t != nil {
			name = t.Name
		}
		out.WriteString(strings.TrimLeft(fmt.Sprintf("%s %s | %s\n", line.Time.Format(time.RFC3339Nano), clean(name), clean(line.Text)), " "))
	}
	return out.String()
}
