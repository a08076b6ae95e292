package tui

import (
	"slices"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"orch/tui/feed"
	"orch/tui/logstream"
)

// TestKeysAreQuickInALargeCluster is the benchmark's claim, with room for a busy machine: 100 nodes, 1,000 services, 10,000 tasks.
func TestKeysAreQuickInALargeCluster(t *testing.T) {
	s := cluster(100, 1000, 10)
	for _, view := range []string{"overview", "services", "tasks", "nodes", "stats"} {
		m := play(t, s, view)
		m.width, m.height = 200, 60
		var took []time.Duration
		for range 50 {
			begin := time.Now()
			m = sent(m, key("j"))
			_ = m.View()
			took = append(took, time.Since(begin))
		}
		slices.Sort(took)
		if median := took[len(took)/2]; median > 16*time.Millisecond { // make bench has the 99th percentile, on a machine of its own
			t.Errorf("%s: a key takes %s", view, median)
		}
	}
}

func benchmark(b *testing.B, view string, msg func(i int) tea.Msg) {
	s := cluster(100, 1000, 10)
	m := tea.Model(play(b, s, view))
	m, _ = m.Update(tea.WindowSizeMsg{Width: 200, Height: 60})
	i := 0
	for b.Loop() {
		i++
		m, _ = m.Update(msg(i))
		_ = m.View()
	}
}

func BenchmarkKeyToFrame(b *testing.B) {
	for _, view := range []string{"overview", "services", "tasks", "stats"} {
		b.Run(view, func(b *testing.B) { benchmark(b, view, func(int) tea.Msg { return key("j") }) })
	}
}

func BenchmarkChangeToFrame(b *testing.B) {
	s := cluster(100, 1000, 10)
	for _, view := range []string{"overview", "services", "tasks", "stats"} {
		b.Run(view, func(b *testing.B) { benchmark(b, view, func(int) tea.Msg { return clusterChanged{&s} }) })
	}
}

// BenchmarkLogLines is how long a second's worth of a flood takes: 10,000 lines in batches, a frame after each.
func BenchmarkLogLines(b *testing.B) {
	m := play(b, cluster(1, 1, 3), "services", "l")
	m = sent(m, tea.WindowSizeMsg{Width: 200, Height: 60}, logOpened{m.opened, &feed.Log{Close: func() {}}})
	for b.Loop() {
		for range 20 {
			lines := make([]logstream.Line, 500)
			for i := range lines {
				lines[i] = logstream.Line{Task: "t0.0", Time: day, Text: "2026-01-02 GET /index.html 200 in 3 ms"}
			}
			m = sent(m, logRead{m.opened, lines, false})
			_ = m.View()
		}
	}
}
