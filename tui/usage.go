package tui

import (
	"fmt"
	"strings"
	"time"

	"orch/internal/usage"
	"orch/tui/feed"
)

// kept is how many measurements of one thing are kept: five minutes.
const kept = 150

// forget is when a task that is measured no more is let go of.
const forget = 2 * kept * usage.Every

// series is what one thing used over time, the latest last.
type series struct {
	last   usage.Counters
	at     time.Time
	values []usage.Rates
}

func (s series) with(c usage.Counters, at time.Time) series {
	if !s.at.IsZero() && at.After(s.at) {
		from := max(0, len(s.values)+1-kept)
		s.values = append(s.values[from:len(s.values):len(s.values)], usage.Between(s.last, c, at.Sub(s.at)))
	}
	s.last, s.at = c, at
	return s
}

func (s series) now() usage.Rates {
	if len(s.values) == 0 {
		return usage.Rates{}
	}
	return s.values[len(s.values)-1]
}

// meters are the measurements of nodes and tasks. They are the model's own and grow in Update alone.
type meters struct {
	nodes, tasks map[string]series
	failed       map[string]string // why there are none, by node
}

func newMeters() *meters {
	return &meters{nodes: map[string]series{}, tasks: map[string]series{}, failed: map[string]string{}}
}

func (m *meters) take(u feed.Usage) {
	if u.Err != nil {
		m.failed[u.Node] = u.Err.Error()
		return
	}
	delete(m.failed, u.Node)
	m.nodes[u.Node] = m.nodes[u.Node].with(u.Sample.Node, u.At)
	for id, c := range u.Tasks {
		m.tasks[id] = m.tasks[id].with(c, u.At)
	}
	for id, s := range m.tasks {
		if u.At.Sub(s.at) > forget {
			delete(m.tasks, id)
		}
	}
}

// service adds the tasks of a service up, the latest measurements beside each other.
func (m *meters) service(s *feed.State, id string) series {
	var sum series
	for _, t := range s.TasksOf(id) {
		if !t.Running() {
			continue
		}
		one := m.tasks[t.ID].values
		if grow := len(one) - len(sum.values); grow > 0 {
			sum.values = append(make([]usage.Rates, grow), sum.values...)
		}
		for i := range one {
			k := len(sum.values) - len(one) + i
			sum.values[k] = sum.values[k].Plus(one[i])
		}
	}
	return sum
}

// bars are the eighths of a character cell.
var bars = []rune("▁▂▃▄▅▆▇█")

// spark draws the latest values in width cells, up to the largest of them, or to full where that is more.
func spark(s series, width int, of func(usage.Rates) float64, full float64) string {
	values := s.values[max(0, len(s.values)-width):]
	top := full
	for _, v := range values {
		top = max(top, of(v))
	}
	var out strings.Builder
	out.WriteString(strings.Repeat(" ", width-len(values)))
	for _, v := range values {
		i := 0
		if top > 0 {
			i = min(len(bars)-1, int(of(v)/top*float64(len(bars))))
		}
		out.WriteRune(bars[i])
	}
	return out.String()
}

func cpuOf(r usage.Rates) float64    { return r.CPU }
func memoryOf(r usage.Rates) float64 { return r.Memory }
func netOf(r usage.Rates) float64    { return r.In + r.Out }

// bytes is a size for people: three digits and a unit.
func bytes(n float64) string {
	for _, unit := range []string{"B", "K", "M", "G", "T"} {
		if n < 1000 || unit == "T" {
			if n < 10 && unit != "B" {
				return fmt.Sprintf("%.1f%s", n, unit)
			}
			return fmt.Sprintf("%.0f%s", n, unit)
		}
		n /= 1024
	}
	return ""
}

// ago is an age for people.
func ago(now, at time.Time) string {
	d := now.Sub(at)
	switch {
	case at.IsZero():
		return ""
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
