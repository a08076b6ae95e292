package tui

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"orch/tui/feed"
	"orch/tui/logstream"
)

func path(m model) string {
	var out []string
	for _, s := range m.trail {
		out = append(out, s.title())
	}
	return strings.Join(out, " › ")
}

func TestKeysLeadWhereTheBreadcrumbSays(t *testing.T) {
	for keys, want := range map[string]string{
		"":                            "stacks",
		"enter":                       "stacks › shop",
		"enter j enter":               "stacks › shop › web1",
		"enter j enter enter":         "stacks › shop › web1 › logs of web1.1",
		"enter enter esc":             "stacks › shop",
		"enter esc esc":               "stacks",
		"enter / b 1 enter enter":     "stacks › shop › web1",
		"enter / b 1 enter esc enter": "stacks › shop › web1",
		"5":                           "nodes",
		"5 enter":                     "nodes › host0",
		"5 u":                         "nodes › usage of host0",
		"l":                           "stacks › logs of shop",
		"H":                           "stacks › deploys of shop",
		"3 i":                         "services › inspect of web0",
		"3 ? ?":                       "services",
		"8":                           "networks",
	} {
		if got := path(play(t, cluster(2, 2, 2), "stacks", strings.Fields(keys)...)); got != want {
			t.Errorf("%q leads to %s, want %s", keys, got, want)
		}
	}
}

// TestAnActionHappensOnlyAfterItsAnswer: the last key is the one that starts work, or must not.
func TestAnActionHappensOnlyAfterItsAnswer(t *testing.T) {
	for _, c := range []struct {
		view, keys string
		happens    bool
	}{
		{"services", "X", false}, {"services", "X n", false}, {"services", "X esc", false}, {"services", "X enter", false}, {"services", "X y", true},
		{"services", "c enter", false}, {"services", "c 5 enter", false}, {"services", "c 5 enter y", true}, {"services", "c z enter", false},
		{"services", "r y", true}, {"services", "b y", true}, {"services", "U y", true}, {"services", "R y", true}, {"services", "I enter y", true},
		{"nodes", "d y", true}, {"nodes", "a y", true}, {"nodes", "p y", true}, {"nodes", "P y", true}, {"nodes", "j P y", true},
		{"nodes", "O", false}, // the only manager
		{"nodes", "L k = v enter y", true}, {"nodes", "L k enter", false},
		{"tasks", "X y", true}, {"tasks", "c", false}, {"tasks", "d", false}, // not keys of this view
		{"stacks", "X y", true}, {"overview", "r", false}, {"overview", "j r", false},
	} {
		keys := strings.Fields(c.keys)
		m := play(t, cluster(2, 2, 2), c.view, keys[:len(keys)-1]...)
		if got := asks(m, keys[len(keys)-1]); got != c.happens {
			t.Errorf("%s %q: happens %v, want %v (%s)", c.view, c.keys, got, c.happens, m.note)
		}
	}
}

func TestQuestionsSayWhatWillHappen(t *testing.T) {
	for _, c := range []struct{ view, keys, want string }{
		{"services", "c 5 enter", "Scale web0 (2/2 tasks) to 5: 3 tasks are started?"},
		{"services", "c 0 enter", "Scale web0 (2/2 tasks) to 0: 2 tasks are stopped?"},
		{"services", "space space r", "Restart web0 (2/2 tasks), web1 (2/2 tasks)? All tasks are replaced, as the update settings say."},
		{"nodes", "d", "Drain host0? Its 2 tasks are stopped and started on other nodes."},
		{"nodes", "j P", "Promote host1 to manager? The cluster then has 2 managers and survives the loss of 0."},
		{"stacks", "X", "Remove stack shop? Its services, networks, secrets and configs go; volumes stay. This cannot be undone."},
		{"tasks", "X", "Stop web0.1? The container is stopped; the service replaces it, if its restart policy says so."},
	} {
		m := play(t, cluster(2, 2, 2), c.view, strings.Fields(c.keys)...)
		if m.asked == nil {
			t.Errorf("%s %q asks nothing: %s", c.view, c.keys, m.note)
			continue
		}
		if d := cmp.Diff(c.want, m.asked.says); d != "" {
			t.Errorf("%s %q (-want +got):\n%s", c.view, c.keys, d)
		}
	}
}

func TestThePaletteReachesEverythingFromAnywhere(t *testing.T) {
	for _, c := range []struct{ line, path, asked, note string }{
		{"services", "services", "", ""},
		{"logs web1", "events › logs of web1", "", ""},
		{"logs web1.2", "events › logs of web1.2", "", ""},
		{"scale web1 5", "events", "Scale web1 (2/2 tasks) to 5: 3 tasks are started?", ""},
		{"drain host1", "events", "Drain host1? Its 2 tasks are stopped and started on other nodes.", ""},
		{"scale web 5", "events", "", `✗ "web" is the beginning of several names: web0, web1 …`},
		{"scale nosuch 5", "events", "", `✗ nothing is called "nosuch"`},
		{"nosuch", "events", "", `✗ no command "nosuch": Tab completes, ? lists them`},
		{"scale", "events", "", "✗ scale what? scale OBJECT N"},
		{"theme nosuch", "events", "", `✗ no theme "nosuch": there are dark, light, none, auto`},
		{"wrap", "events", "", "✗ wrap does nothing in events"},
	} {
		m := press(t, play(t, cluster(2, 2, 2), "events", ":"), typing(c.line)...)
		m = press(t, m, "enter")
		asked := ""
		if m.asked != nil {
			asked = m.asked.says
		}
		if d := cmp.Diff([]string{c.path, c.asked, c.note}, []string{path(m), asked, m.note}); d != "" {
			t.Errorf("%q (-want +got):\n%s", c.line, d)
		}
	}
}

func TestTabCompletes(t *testing.T) {
	for typed, want := range map[string]string{"sc": "scale", "scale w": "scale web", "scale web0": "scale web0", "serv": "services", "theme li": "theme light", "zzz": "zzz"} {
		m := press(t, play(t, cluster(1, 2, 2), "events", ":"), typing(typed)...)
		if got := press(t, m, "tab").typing.input.Value(); got != want {
			t.Errorf("%q is completed to %q, want %q", typed, got, want)
		}
	}
}

func TestTheCursorStaysOnItsObjectWhenRowsMove(t *testing.T) {
	n, v, k := parts(1, 3, 1)
	m := play(t, made(n, v, k), "services", "j")
	first := swarm.Service{ID: "new"}
	first.Spec.Name = "aaa"
	s := made(n, append(v, first), k)
	m = sent(m, clusterChanged{&s})
	if at := m.here().(table); at.rows[at.cursor].id != "s1" {
		t.Errorf("the cursor went to %q", at.rows[at.cursor].id)
	}
	s = made(n, nil, nil) // everything vanishes while it is shown
	m = press(t, sent(m, clusterChanged{&s}), "enter", "l", "X", "r", "y")
	if got := path(m); got != "services" {
		t.Errorf("keys on nothing lead to %s", got)
	}
}

func TestRowsAreSortedAndChosen(t *testing.T) {
	names := func(m model) (out []string) {
		for _, r := range m.here().(table).rows {
			out = append(out, r.name)
		}
		return out
	}
	m := play(t, cluster(1, 1, 12), "tasks", "s")
	if got := names(m); got[1] != "web0.2" || got[11] != "web0.12" {
		t.Errorf("sorted %v", got)
	}
	m = sent(m, tea.KeyPressMsg{Code: 'r', Mod: tea.ModCtrl})
	if got := names(m); got[0] != "web0.12" {
		t.Errorf("the other way round %v", got)
	}
	m = sent(m, tea.MouseClickMsg{Button: tea.MouseLeft, X: 3, Y: 2}, tea.MouseClickMsg{Button: tea.MouseLeft, X: 3, Y: 5})
	if at := m.here().(table); at.cursor != 2 || at.layout.Sort != "TASK" {
		t.Errorf("clicks lead to row %d, sorted by %q", at.cursor, at.layout.Sort)
	}
	m = sent(m, tea.MouseClickMsg{Button: tea.MouseLeft, X: 3, Y: 5})
	if !strings.Contains(path(m), "logs of") {
		t.Errorf("a second click leads to %s", path(m))
	}
	m = press(t, press(t, play(t, cluster(1, 1, 1), "tasks", "C"), typing("image node")...), "enter")
	if head := strings.Split(m.frame(), "\n")[2]; !strings.Contains(head, "IMAGE") || strings.Contains(head, "NODE") {
		t.Errorf("columns %q", head)
	}
	if m.remembered.Tables["tasks"].Columns["IMAGE"] != true {
		t.Error("the choice is not remembered")
	}
}

// logging is a log of three tasks with lines in it.
func logging(t *testing.T, lines ...string) (model, *bool) {
	m := play(t, cluster(1, 1, 3), "services", "l")
	closed := new(bool)
	m = sent(m, tea.WindowSizeMsg{Width: 80, Height: 8}, logOpened{m.opened, &feed.Log{Close: func() { *closed = true }}})
	return said(m, lines...), closed
}

func said(m model, lines ...string) model {
	var list []logstream.Line
	for _, l := range lines {
		list = append(list, logstream.Line{Task: "t0.0", Text: l})
	}
	return sent(m, logRead{m.opened, list, false})
}

func TestALogFollowsUntilTheUserScrollsUp(t *testing.T) {
	m, _ := logging(t, "1", "2", "3", "4", "5", "6", "7", "8", "9")
	last := func() string {
		lines := m.here().draw(m.env())
		return lines[len(lines)-1]
	}
	if got := last(); !strings.HasSuffix(got, " 9") {
		t.Fatalf("the last line is %q", got)
	}
	m = said(press(t, m, "k"), "10")
	if got := last(); !strings.HasSuffix(got, " 8") || !strings.Contains(m.here().status(m.env()), "paused, 1 new") {
		t.Errorf("after scrolling up %q, %s", got, m.here().status(m.env()))
	}
	m = press(t, m, "G")
	if got := last(); !strings.HasSuffix(got, " 10") {
		t.Errorf("following again %q", got)
	}
	m = press(t, press(t, m, "&"), append(typing("^1"), "enter")...)
	if got := m.here().draw(m.env()); len(got) != 2 {
		t.Errorf("filtered %q", got)
	}
	m = press(t, said(m, "11", "2"), "&", "(", "enter")
	if l := m.here().(logs); len(l.shown) != 3 || !strings.HasPrefix(m.note, "✗ error parsing regexp") {
		t.Errorf("%d lines, note %q", len(l.shown), m.note)
	}
}

func TestALogKeepsItsLastLines(t *testing.T) {
	m, _ := logging(t)
	for range 50 {
		m = said(m, slices.Repeat([]string{"x"}, 1000)...)
	}
	if n := len(m.here().(logs).all); n < keptLines || n > 2*keptLines {
		t.Errorf("%d lines are kept", n)
	}
	m = press(t, m, "g")
	if got := m.here().draw(m.env()); len(got) != m.env().height {
		t.Errorf("at the top %d lines", len(got))
	}
}

func TestALogThatIsLeftIsClosed(t *testing.T) {
	for _, k := range []string{"esc", "3"} {
		m, closed := logging(t, "x")
		_, cmd := m.Update(key(k))
		run(cmd)
		if !*closed {
			t.Errorf("%q leaves the log open", k)
		}
	}
}

// run does what a command and those that it stands for do.
func run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	if batch, ok := cmd().(tea.BatchMsg); ok {
		for _, c := range batch {
			run(c)
		}
	}
}

func TestOutcomesAreSaid(t *testing.T) {
	for want, msg := range map[string]tea.Msg{"✗ update out of sequence": changed{"web", errors.New("update out of sequence")}, "✓ web changed": changed{"web", nil}, "saved to x": done{"saved to x", nil}} {
		m := sent(play(t, cluster(1, 1, 1), "services"), msg)
		if got := m.footer(m.env()); got[0] != want {
			t.Errorf("footer %q, want %q", got, want)
		}
	}
}

func TestAPlanIsShownBeforeItIsCarriedOut(t *testing.T) {
	m := press(t, play(t, cluster(1, 1, 1), "services", "D"), "enter")
	if got := m.here().view(); got != "plan" || asks(m, "y") {
		t.Fatalf("in %s, and y does something before there is a plan", got)
	}
	m = sent(m, planned{m.opened, &feed.Deployment{Stack: "shop", Lines: []string{"+ service shop_web"}}, nil})
	if !strings.Contains(m.frame(), "+ service shop_web") || !strings.Contains(m.frame(), "y deploys this") {
		t.Errorf("frame:\n%s", m.frame())
	}
	m = sent(m, planned{m.opened, nil, errors.New("compose.yml:3: no")})
	if !strings.Contains(m.frame(), "✗ compose.yml:3: no") {
		t.Errorf("frame:\n%s", m.frame())
	}
}

func TestEscAndAKeyThatArriveTogetherAreTwoKeys(t *testing.T) {
	m := sent(play(t, cluster(1, 1, 1), "stacks", "enter", "enter"), tea.KeyPressMsg{Code: '5', Mod: tea.ModAlt})
	if got := path(m); got != "nodes" {
		t.Errorf("leads to %s", got)
	}
}

func TestAFileOfKeysChangesThem(t *testing.T) {
	dir := t.TempDir()
	read := func(text string) (Config, error) {
		file := filepath.Join(dir, "ui.yml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return ReadConfig(file)
	}
	c, err := read("theme: light\nkeys: {nodes: [z], scale: [ctrl+s]}\n")
	if err != nil {
		t.Fatal(err)
	}
	m, err := newModel(Options{Config: c, View: "services"})
	if err != nil {
		t.Fatal(err)
	}
	s := cluster(1, 1, 1)
	m = press(t, sent(m, clusterChanged{&s}), "c")
	if m.typing != nil || m.look.name != "light" || !strings.Contains(strings.Join(m.helpLines("services"), "\n"), "ctrl+s") {
		t.Errorf("typing %v, theme %s", m.typing, m.look.name)
	}
	if m = press(t, m, "z"); path(m) != "nodes" {
		t.Errorf("z leads to %s", path(m))
	}
	for text, want := range map[string]string{
		"keys: {nosuch: [z]}": `no command "nosuch"`,
		"keys: {scale: [r]}":  `"r" is both scale and restart in `,
		"colour: blue":        "field colour not found",
		"theme: pink":         `no theme "pink"`,
		"keys: [":             "yaml",
	} {
		if _, err := read(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, err := ReadConfig(filepath.Join(dir, "none")); err != nil {
		t.Errorf("no file: %v", err)
	}
	if _, err := read(KeyTable(Config{})); err != nil {
		t.Errorf("the table of keys is no file of keys: %v\n%s", err, KeyTable(Config{}))
	}
}

func TestNoKeyMeansTwoThings(t *testing.T) {
	for _, view := range append(slices.Clone(viewNames), "logs", "inspect", "plan", "diff", "chart", "revision", "help") {
		for i, c := range commands {
			for _, other := range commands[i+1:] {
				if c.clashes(other, view) && slices.ContainsFunc(c.keys, func(k string) bool { return slices.Contains(other.keys, k) }) {
					t.Errorf("in %s %s and %s share a key", view, c.id, other.id)
				}
			}
		}
	}
}

func TestWhatIsRememberedComesBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "ui.json")
	m := play(t, cluster(1, 1, 1), "services", "s", "3")
	if err := m.remembered.write(file); err != nil {
		t.Fatal(err)
	}
	again, err := newModel(Options{Memory: file})
	if err != nil {
		t.Fatal(err)
	}
	if at := again.here().(table); at.kind.name != "services" || at.layout.Sort != "SERVICE" {
		t.Errorf("came back to %s, sorted by %q", at.kind.name, at.layout.Sort)
	}
	if err := os.WriteFile(file, []byte("{torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newModel(Options{Memory: file}); err != nil {
		t.Errorf("a torn file: %v", err)
	}
}
