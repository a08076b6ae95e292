package tui

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
)

// tone is what a piece of text means; a theme says how that looks. No meaning is by tone alone: without colours a frame has the same text.
type tone int

const (
	normal tone = iota
	dim
	good
	warn
	bad
	accent
	heading
	cursor
	found // by a search
)

// theme paints text. Its zero value has no colours.
type theme struct {
	name  string
	tones map[tone]string // SGR parameters
	names []string        // of the tasks in a log, by hash
}

// themes by name. Colours are of the 256, which every terminal with colours has; automatic is what the terminal's background asks for.
var themes = map[string]theme{
	"none": {name: "none"},
	"dark": {name: "dark", tones: map[tone]string{
		dim: "38;5;245", good: "38;5;114", warn: "38;5;221", bad: "1;38;5;210", accent: "38;5;117", heading: "1;38;5;252", cursor: "48;5;238", found: "30;48;5;221",
	}, names: []string{"38;5;117", "38;5;114", "38;5;221", "38;5;212", "38;5;80", "38;5;215", "38;5;147", "38;5;150"}},
	"light": {name: "light", tones: map[tone]string{
		dim: "38;5;242", good: "38;5;28", warn: "38;5;130", bad: "1;38;5;124", accent: "38;5;25", heading: "1;38;5;235", cursor: "48;5;253", found: "30;48;5;220",
	}, names: []string{"38;5;25", "38;5;28", "38;5;130", "38;5;127", "38;5;30", "38;5;94", "38;5;55", "38;5;64"}},
}

const automatic = "auto"

func themeNames() []string { return append(slices.Sorted(maps.Keys(themes)), automatic) }

func checkTheme(name string) error {
	if name != "" && !slices.Contains(themeNames(), name) {
		return fmt.Errorf("no theme %q: there are %s", name, strings.Join(themeNames(), ", "))
	}
	return nil
}

func (t theme) paint(as tone, s string) string { return sgr(t.tones[as], s) }

// named paints a task's name in its own colour.
func (t theme) named(name, s string) string {
	if len(t.names) == 0 {
		return s
	}
	h := fnv.New32a()
	h.Write([]byte(name))
	return sgr(t.names[int(h.Sum32())%len(t.names)], s)
}

func sgr(how, s string) string {
	if how == "" || s == "" {
		return s
	}
	// What is painted within goes on in this tone after its end.
	return "\x1b[" + how + "m" + strings.ReplaceAll(s, "\x1b[m", "\x1b[m\x1b["+how+"m") + "\x1b[m"
}
