package tui

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"orch/internal/usage"
	"orch/tui/feed"
	"orch/tui/logstream"
)

var update = flag.Bool("update", false, "write the golden frames")

// troubled is a cluster in which something of everything goes on.
func troubled() feed.State {
	n, v, t := parts(3, 4, 3)
	n[2].Status.State, n[2].Status.Message = swarm.NodeStateDown, "heartbeat failure"
	n[1].Spec.Availability = swarm.NodeAvailabilityDrain
	v[1].Spec.Name = "\x1b]0;owned\x07世界"
	t[5].Status.State, t[5].Status.Err = swarm.TaskStateFailed, "task: non-zero exit (1)\x1b[31m"
	begun := day.Add(-time.Hour)
	v[2].UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStateUpdating, StartedAt: &begun}
	t[6].CreatedAt = day
	v[3].UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStatePaused, Message: "update paused due to failure"}
	s := made(n, v, t)
	s.Events = []events.Message{{Type: "service", Action: "update", Time: day.Unix(), Actor: events.Actor{Attributes: map[string]string{"name": "web2", "replicas.old": "2", "replicas.new": "3"}}}}
	return s
}

// measured is a model with five minutes of measurements.
func measured(m model) model {
	for i := range 60 {
		busy := uint64(i * i)
		u := feed.Usage{Node: "n0", Sample: usage.Sample{At: day.Add(time.Duration(i) * usage.Every), Node: usage.Counters{CPU: busy * 1e8, Memory: 3 << 30, In: busy << 12, Out: busy << 10},
			Tasks: map[string]usage.Counters{"t0.0": {CPU: busy * 5e7, Memory: uint64(i+1) << 20, In: busy << 10}}}}
		m = sent(m, metered{u})
	}
	return m
}

func TestFramesAreAsTheGoldenOnes(t *testing.T) {
	time.Local = time.UTC
	for _, view := range append(viewNames, "chart", "logs", "help") {
		for _, size := range [][2]int{{80, 24}, {120, 40}, {250, 70}, {20, 5}} {
			m := measured(screenOf(t, troubled(), view))
			m.width, m.height = size[0], size[1]
			golden(t, fmt.Sprintf("%s-%dx%d", view, size[0], size[1]), m.refreshed().frame())
		}
	}
	golden(t, "ask-80x24", play(t, troubled(), "services", "r").frame())
	golden(t, "palette-80x24", press(t, play(t, troubled(), "services"), typing(":logs w")...).frame())
	golden(t, "empty-80x24", play(t, cluster(1, 0, 0), "services").frame())
}

// screenOf is a view that may not be one of the tables.
func screenOf(t *testing.T, s feed.State, view string) model {
	switch view {
	case "chart":
		return play(t, s, "nodes", "u")
	case "help":
		return play(t, s, "services", "?")
	case "logs":
		m := play(t, s, "services", "l")
		lines := []logstream.Line{
			{Task: "t0.0", Time: day, Text: "listening on :8080"},
			{Task: "t0.1", Time: day, Text: "\x1b[31mred\x1b[0m and \x1b]0;owned\x07 \u202e世界", Stderr: true},
			{Task: "t0.2", Time: day, Text: strings.Repeat("long ", 60)},
		}
		return press(t, sent(m, logOpened{m.opened, &feed.Log{Close: func() {}}}, logRead{m.opened, lines, false}), "w", "t")
	}
	return play(t, s, view)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got+"\n"); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

// TestColourIsNeverTheOnlyMeaning: whatever the theme, the text is the same; and without one there is no escape sequence at all.
func TestColourIsNeverTheOnlyMeaning(t *testing.T) {
	for _, view := range append(viewNames, "chart", "logs", "help") {
		for _, size := range [][2]int{{80, 24}, {120, 40}, {20, 5}, {1, 1}, {300, 80}} {
			m := measured(screenOf(t, troubled(), view))
			m.width, m.height = size[0], size[1]
			m = m.refreshed()
			plain := m.frame()
			lines := strings.Split(plain, "\n")
			if len(lines) != size[1] {
				t.Errorf("%s at %v: %d lines", view, size, len(lines))
			}
			for _, l := range lines {
				if ansi.StringWidth(l) > size[0] || l != clean(l) {
					t.Errorf("%s at %v: %q", view, size, l)
				}
			}
			for _, theme := range []string{"dark", "light"} {
				m.look = themes[theme]
				if d := cmp.Diff(trimmed(plain), trimmed(ansi.Strip(m.frame()))); d != "" {
					t.Errorf("%s in %s at %v (-plain +coloured):\n%s", view, theme, size, d)
				}
			}
		}
	}
}

func trimmed(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func TestStaleStateSaysSinceWhenAndWhy(t *testing.T) {
	s := cluster(1, 1, 1)
	s.Err, s.StaleSince = fmt.Errorf("gone"), day
	m := play(t, s, "")
	if got, want := m.health(m.env()), "! stale since 03:04:05: gone"; got != want {
		t.Errorf("health %q, want %q", got, want)
	}
}

func FuzzCleanLeavesNothingToATerminal(f *testing.F) {
	f.Add("\x1b[2J\u009b31m\u202e\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range clean(s) {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
				t.Errorf("%q became %q", s, clean(s))
			}
		}
		if w := ansi.StringWidth(fit(clean(s), 10)); w != 10 {
			t.Errorf("%q fits into %d cells", s, w)
		}
	})
}
