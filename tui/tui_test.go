package tui

import (
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"orch/tui/feed"
)

func cluster(nodes, services, perService int) feed.State {
	s := feed.State{At: time.Unix(1, 0)}
	for i := range nodes {
		n := swarm.Node{ID: fmt.Sprintf("n%d", i)}
		n.Description.Hostname, n.Status.State = fmt.Sprintf("host%d", i), swarm.NodeStateReady
		s.Nodes = append(s.Nodes, n)
	}
	for i := range services {
		v := swarm.Service{ID: fmt.Sprintf("s%d", i), ServiceStatus: &swarm.ServiceStatus{RunningTasks: 1, DesiredTasks: 2}}
		v.Spec.Name, v.Spec.Labels = fmt.Sprintf("web%d", i), map[string]string{stackLabel: "shop"}
		s.Services = append(s.Services, v)
		for j := range perService {
			t := swarm.Task{ID: fmt.Sprintf("t%d.%d", i, j), ServiceID: v.ID, NodeID: fmt.Sprintf("n%d", j%nodes), Slot: j + 1}
			t.Status.State = swarm.TaskStateRunning
			s.Tasks = append(s.Tasks, t)
		}
	}
	return s
}

func play(t testing.TB, s feed.State, view string, keys ...string) model {
	m, err := newModel("unix:///x", view)
	if err != nil {
		t.Fatal(err)
	}
	var now tea.Model = m
	now, _ = now.Update(clusterChanged(s))
	for _, k := range keys {
		press := tea.KeyPressMsg{Text: k}
		switch k {
		case "enter":
			press = tea.KeyPressMsg{Code: tea.KeyEnter}
		case "esc":
			press = tea.KeyPressMsg{Code: tea.KeyEscape}
		}
		now, _ = now.Update(press)
	}
	return now.(model)
}

func TestKeysLeadWhereTheBreadcrumbSays(t *testing.T) {
	for _, c := range []struct {
		keys, want string
	}{
		{"", "stacks"},
		{"enter", "stacks › shop"},
		{"enter j enter", "stacks › shop › web1"},
		{"enter enter esc", "stacks › shop"},
		{"enter esc esc", "stacks"},
		{"enter / b 1 enter enter", "stacks › shop › web1"},
		{"5", "nodes"},
	} {
		m := play(t, cluster(2, 2, 2), "stacks", strings.Fields(c.keys)...)
		if d := cmp.Diff(c.want, m.breadcrumb()); d != "" {
			t.Errorf("%q (-want +got):\n%s", c.keys, d)
		}
	}
}

func TestEveryFrameFitsAndHoldsNoEscapes(t *testing.T) {
	s := cluster(3, 30, 3)
	s.Services[0].Spec.Name = "\x1b]0;owned\x07\x1b[2J世界\u202e"
	s.Nodes[0].Description.Hostname = "\x9b31m\r\nhost"
	for _, size := range [][2]int{{80, 24}, {120, 40}, {200, 60}, {20, 5}} {
		for _, name := range strings.Split(viewNames(), ", ") {
			for _, keys := range [][]string{nil, {"?"}, {"/", "z"}} {
				m := play(t, s, name, keys...)
				m.width, m.height = size[0], size[1]
				lines := strings.Split(m.frame(), "\n")
				if len(lines) != size[1] {
					t.Errorf("%s at %v: %d lines", name, size, len(lines))
				}
				for _, l := range lines {
					if ansi.StringWidth(l) > size[0] || l != clean(l) {
						t.Errorf("%s at %v: %q", name, size, l)
					}
				}
			}
		}
	}
}

func TestStaleStateSaysSinceWhenAndWhy(t *testing.T) {
	s := cluster(1, 1, 1)
	s.Err, s.StaleSince = fmt.Errorf("gone"), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if got, want := play(t, s, "").health(), "! stale since 03:04:05: gone"; got != want {
		t.Errorf("health %q, want %q", got, want)
	}
}

func BenchmarkKeyToFrame(b *testing.B) {
	m := tea.Model(play(b, cluster(100, 1000, 10), "tasks"))
	for b.Loop() {
		m, _ = m.Update(tea.KeyPressMsg{Text: "j"})
		_ = m.View()
	}
}

func BenchmarkChangeToFrame(b *testing.B) {
	s := cluster(100, 1000, 10)
	m := tea.Model(play(b, s, "tasks"))
	for b.Loop() {
		m, _ = m.Update(clusterChanged(s))
		_ = m.View()
	}
}
