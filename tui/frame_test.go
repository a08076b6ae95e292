package tui

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"orch/tui/feed"
)

var update = flag.Bool("update", false, "write the golden frames")

func TestFramesAreAsTheGoldenOnes(t *testing.T) {
	s := cluster(2, 3, 2)
	s.Services[1].Spec.Name = "\x1b]0;owned\x07世界"
	s.Events = []events.Message{{Type: "service", Action: "update", Time: 3661, Actor: events.Actor{Attributes: map[string]string{"name": "web2"}}}}
	for _, view := range []string{"overview", "stacks", "services", "tasks", "nodes", "events"} {
		for _, size := range [][2]int{{80, 24}, {120, 40}, {20, 5}} {
			m := play(t, s, view)
			m.width, m.height = size[0], size[1]
			golden(t, fmt.Sprintf("%s-%dx%d", view, size[0], size[1]), m.frame())
		}
	}
	golden(t, "help-80x24", play(t, s, "services", "?").frame())
	golden(t, "ask-80x24", play(t, s, "services", "r").frame())
	golden(t, "empty-80x24", play(t, cluster(1, 0, 0), "services").frame())
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

func TestAnActionHappensOnlyAfterItsAnswer(t *testing.T) {
	for _, c := range []struct {
		view, keys string
		happens    bool
	}{
		{"services", "x", false},
		{"services", "x n", false},
		{"services", "x esc", false},
		{"services", "x enter", false},
		{"services", "x y", true},
		{"services", "c enter", false},
		{"services", "c 5 enter", true},
		{"services", "c 9 9 9 9 9 9 9 9 9 9 9 enter", false},
		{"nodes", "d y", true},
		{"tasks", "x y", false}, // not a key of this view
	} {
		keys := strings.Fields(c.keys)
		m := play(t, cluster(2, 2, 2), c.view, keys[:len(keys)-1]...)
		press := tea.KeyPressMsg{Text: keys[len(keys)-1]}
		switch press.Text {
		case "enter":
			press = tea.KeyPressMsg{Code: tea.KeyEnter}
		case "esc":
			press = tea.KeyPressMsg{Code: tea.KeyEscape}
		}
		if _, cmd := m.Update(press); (cmd != nil) != c.happens {
			t.Errorf("%s %q: happens %v, want %v", c.view, c.keys, cmd != nil, c.happens)
		}
	}
}

func TestTheCursorStaysOnItsObjectWhenRowsMove(t *testing.T) {
	s := cluster(1, 3, 1)
	m := play(t, s, "services", "j")
	s.Services = append([]swarm.Service{{ID: "new", Spec: swarm.ServiceSpec{Annotations: swarm.Annotations{Name: "aaa"}}}}, s.Services...)
	next, _ := m.Update(clusterChanged(s))
	if m = next.(model); m.rows[m.here().cursor].id != "s1" {
		t.Errorf("the cursor went to %q", m.rows[m.here().cursor].id)
	}
}

func TestALogFollowsUntilTheUserScrollsUp(t *testing.T) {
	m := play(t, cluster(1, 1, 1), "tasks", "l")
	log := &feed.Log{Close: func() {}}
	now, _ := tea.Model(m).Update(logOpened{1, log})
	now, _ = now.Update(logRead{1, []string{"\x1b[31mone\x1b[0m", "two"}, false})
	if m = now.(model); m.here().cursor != 1 || m.here().lines[0] != "one" {
		t.Fatalf("cursor %d in %q", m.here().cursor, m.here().lines)
	}
	now, _ = now.Update(tea.KeyPressMsg{Text: "k"})
	now, _ = now.Update(logRead{1, []string{"three"}, false})
	if m = now.(model); m.here().cursor != 0 || len(m.rows) != 3 {
		t.Errorf("cursor %d of %d", m.here().cursor, len(m.rows))
	}
}

func TestALogThatIsLeftIsClosed(t *testing.T) {
	for _, key := range []tea.KeyPressMsg{{Code: tea.KeyEscape}, {Text: "3"}} {
		closed := false
		now, _ := tea.Model(play(t, cluster(1, 1, 1), "tasks", "l")).Update(logOpened{1, &feed.Log{Close: func() { closed = true }}})
		if now.Update(key); !closed {
			t.Errorf("%q leaves the log open", key)
		}
	}
}

func TestARefusedChangeIsSaid(t *testing.T) {
	now, _ := tea.Model(play(t, cluster(1, 1, 1), "services")).Update(changed{"web", errors.New("update out of sequence")})
	if got := now.(model).footer(); got != "✗ update out of sequence" {
		t.Errorf("footer %q", got)
	}
}
