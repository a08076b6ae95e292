package tui

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// kind is a table of objects of one kind.
type kind struct {
	name    string
	columns []column
	items   func(e env, s scope) []item
	// enter is the screen that Enter opens; nil for none.
	enter func(e env, it item) screen
	empty string
	// measured are the nodes to measure for rows that are shown; nil for none.
	measured func(e env, rows []item) []string
}

// item is an object of a table.
type item struct {
	id, name string
	v        any
}

// scope narrows a table to the objects of one.
type scope struct{ view, id, name string }

// column is one of a kind's.
type column struct {
	name string
	cell func(e env, v any) string
	// key orders by a number; without it text is ordered.
	key  func(e env, v any) float64
	tone func(e env, v any) tone
	off  bool // shown only when chosen
}

// widest is how wide a column may be that is not the last.
const widest = 42

// col is a column of objects of type T.
func col[T any](name string, cell func(e env, v T) string) column {
	return column{name: name, cell: func(e env, v any) string { return cell(e, v.(T)) }}
}

func (c column) by(key func(e env, v any) float64) column { c.key = key; return c }

func (c column) toned(t func(e env, v any) tone) column { c.tone = t; return c }

func (c column) hidden() column { c.off = true; return c }

// layout is how a table of a kind is looked at; it is remembered.
type layout struct {
	Sort    string          `json:"sort,omitempty"`
	Down    bool            `json:"down,omitempty"`
	Columns map[string]bool `json:"columns,omitempty"` // chosen, against what they are by themselves
}

// table is the model of a kind's view.
type table struct {
	kind   *kind
	scope  scope
	filter string
	layout layout
	marked map[string]bool
	rows   []item // filtered and sorted; made once per change, not per frame
	cursor int
	first  int // the row at the top
}

func newTable(k *kind, s scope) table { return table{kind: k, scope: s, marked: map[string]bool{}} }

func (t table) view() string { return t.kind.name }

func (t table) title() string { return cmp.Or(t.scope.name, t.kind.name) }

func (t table) status(env) string {
	var out []string
	if t.filter != "" {
		out = append(out, fmt.Sprintf("/%s: %d", t.filter, len(t.rows)))
	}
	if n := len(t.marked); n > 0 {
		out = append(out, fmt.Sprintf("%d marked", n))
	}
	return strings.Join(out, "  ")
}

// shown are the columns that are.
func (t table) shown() (out []column) {
	for _, c := range t.kind.columns {
		if c.off == t.layout.Columns[c.name] {
			out = append(out, c)
		}
	}
	return out
}

// changed makes the rows again with the cursor on the same object, so that no key hits another one that moved there.
func (t table) changed(e env) screen {
	was := ""
	if t.cursor < len(t.rows) {
		was = t.rows[t.cursor].id
	}
	t.rows = t.list(e)
	if at := slices.IndexFunc(t.rows, func(r item) bool { return r.id == was }); was != "" && at >= 0 {
		t.first = max(0, t.first+at-t.cursor)
		t.cursor = at
	}
	if len(t.marked) > 0 {
		t.marked = maps.Clone(t.marked)
		there := map[string]bool{}
		for _, r := range t.rows {
			there[r.id] = true
		}
		maps.DeleteFunc(t.marked, func(id string, _ bool) bool { return !there[id] })
	}
	return t.within(e)
}

// list is the filtered and sorted content.
func (t table) list(e env) []item {
	rows := t.kind.items(e, t.scope)
	if want := strings.ToLower(t.filter); want != "" {
		columns := t.shown()
		rows = slices.DeleteFunc(slices.Clone(rows), func(r item) bool {
			for _, c := range columns {
				if strings.Contains(strings.ToLower(c.cell(e, r.v)), want) {
					return false
				}
			}
			return true
		})
	}
	i := slices.IndexFunc(t.kind.columns, func(c column) bool { return c.name == t.layout.Sort })
	if t.layout.Sort == "" || i < 0 {
		return rows
	}
	return sorted(e, rows, t.kind.columns[i], t.layout.Down)
}

func sorted(e env, rows []item, c column, down bool) []item {
	type keyed struct {
		item
		text   string
		number float64
	}
	all := make([]keyed, len(rows))
	for i, r := range rows {
		all[i].item = r
		if c.key != nil {
			all[i].number = c.key(e, r.v)
		} else {
			all[i].text = c.cell(e, r.v)
		}
	}
	slices.SortStableFunc(all, func(a, b keyed) int {
		order := cmp.Or(cmp.Compare(a.number, b.number), natural(a.text, b.text))
		if down {
			return -order
		}
		return order
	})
	out := make([]item, len(rows))
	for i := range all {
		out[i] = all[i].item
	}
	return out
}

// body is how many rows fit under the columns' names.
func (t table) body(e env) int { return max(1, e.height-1) }

// within keeps the cursor on a row, and that row in sight.
func (t table) within(e env) table {
	t.cursor = max(0, min(t.cursor, len(t.rows)-1))
	t.first = max(0, min(t.first, len(t.rows)-t.body(e)))
	t.first = max(min(t.first, t.cursor), t.cursor-t.body(e)+1)
	return t
}

func (t table) move(e env, a motion) screen {
	t.cursor = moved(t.cursor, a, t.body(e), len(t.rows))
	return t.within(e)
}

func (t table) click(e env, line, x int) screen {
	if line == 0 {
		for i, at := range t.starts(e) {
			if x < at+2 {
				return t.sortedBy(e, t.shown()[i].name)
			}
		}
		return t
	}
	if at := t.first + line - 1; at < len(t.rows) {
		t.cursor = at
	}
	return t
}

// measuring says that the rows themselves depend on what is measured.
func (t table) measuring() bool {
	by := slices.IndexFunc(t.kind.columns, func(c column) bool { return c.name == t.layout.Sort && c.key != nil })
	return t.kind.name == "overview" || by >= 0
}

// sortedBy orders by a column, and by the same the other way round.
func (t table) sortedBy(e env, name string) table {
	t.layout.Sort, t.layout.Down = name, t.layout.Sort == name && !t.layout.Down
	return t.changed(e).(table)
}

func (t table) marking() table {
	if t.cursor < len(t.rows) {
		t.marked = maps.Clone(t.marked)
		if id := t.rows[t.cursor].id; t.marked[id] {
			delete(t.marked, id)
		} else {
			t.marked[id] = true
		}
	}
	return t
}

func (t table) targets(env) []target {
	if len(t.marked) == 0 {
		if t.cursor < len(t.rows) {
			return []target{targetOf(t.kind.name, t.rows[t.cursor])}
		}
		return nil
	}
	var out []target
	for _, r := range t.rows {
		if t.marked[r.id] {
			out = append(out, targetOf(t.kind.name, r))
		}
	}
	return out
}

// targetOf is the object of a row; those of the overview are of several kinds.
func targetOf(view string, r item) target {
	if o, ok := r.v.(*finding); ok {
		return target{o.view, o.id, o.name, o.v}
	}
	return target{view, r.id, r.name, r.v}
}

func (t table) visible(e env) []item {
	return t.rows[min(t.first, len(t.rows)):min(t.first+t.body(e), len(t.rows))]
}

func (t table) measured(e env) []string {
	if t.kind.measured == nil {
		return nil
	}
	return t.kind.measured(e, t.visible(e))
}

// cells are the texts of the rows in sight, and the widths of their columns.
func (t table) cells(e env) (cells [][]string, widths []int) {
	columns := t.shown()
	widths = make([]int, len(columns))
	for i, c := range columns {
		widths[i] = len(c.name) + 1 // one for the mark of the sorted column
	}
	for _, r := range t.visible(e) {
		line := make([]string, len(columns))
		for i, c := range columns {
			line[i] = clean(c.cell(e, r.v))
			widths[i] = max(widths[i], min(widest, ansi.StringWidth(line[i])))
		}
		cells = append(cells, line)
	}
	if last := len(widths) - 1; last >= 0 { // the rest of the line
		widths[last] = e.width - 2
		for _, w := range widths[:last] {
			widths[last] -= w + 2
		}
	}
	return cells, widths
}

// starts are where the columns end.
func (t table) starts(e env) (out []int) {
	_, widths := t.cells(e)
	at := 2
	for _, w := range widths {
		at += w + 2
		out = append(out, at-2)
	}
	return out
}

func (t table) draw(e env) []string {
	columns := t.shown()
	cells, widths := t.cells(e)
	var head strings.Builder
	head.WriteString("  ")
	for i, c := range columns {
		name := c.name
		if c.name == t.layout.Sort && c.name != "" {
			name += map[bool]string{false: "▴", true: "▾"}[t.layout.Down]
		}
		head.WriteString(between(i) + fit(name, widths[i]))
	}
	lines := []string{e.theme.paint(heading, strings.TrimRight(fit(head.String(), e.width), " "))}
	if len(t.rows) == 0 {
		return append(lines, "  "+t.emptyText(e))
	}
	for i, row := range t.visible(e) {
		lines = append(lines, t.row(e, columns, row, cells[i], widths, t.first+i == t.cursor))
	}
	return lines[:min(len(lines), e.height)]
}

func (t table) row(e env, columns []column, r item, cells []string, widths []int, here bool) string {
	mark := []byte("  ")
	if here {
		mark[0] = '>'
	}
	if t.marked[r.id] {
		mark[1] = '*'
	}
	var out strings.Builder
	out.Write(mark)
	for i, c := range columns {
		cell := fit(cells[i], widths[i])
		if c.tone != nil {
			cell = e.theme.paint(c.tone(e, r.v), cell)
		}
		out.WriteString(between(i) + cell)
	}
	line := fit(out.String(), e.width)
	if here {
		return e.theme.paint(cursor, line)
	}
	return line
}

// between is what stands before a column.
func between(i int) string {
	if i == 0 {
		return ""
	}
	return "  "
}

func (t table) emptyText(e env) string {
	switch {
	case e.state.At.IsZero():
		return "Waiting for the cluster."
	case t.filter != "":
		return "No row matches the filter."
	}
	return t.kind.empty
}
