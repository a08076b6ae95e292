package tui

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"orch/tui/feed"
)

func palette(m model, _ []target, _ []string) (model, tea.Cmd) {
	return m.prompted(prompt{label: ":", complete: model.complete, done: model.entered}, ""), nil
}

// complete are the command lines that begin with what is typed.
func (m model) complete(value string) []string {
	id, rest, inArgs := strings.Cut(value, " ")
	if !inArgs {
		var out []string
		for _, c := range commands {
			if strings.HasPrefix(c.id, id) {
				out = append(out, c.id)
			}
		}
		slices.Sort(out)
		return out
	}
	c, ok := find(id)
	if !ok {
		return nil
	}
	var words []string
	switch hint, _, _ := strings.Cut(c.args, " "); {
	case hint == "OBJECT" && !strings.Contains(rest, " "):
		words = m.objectNames(c)
	case hint == "FILE":
		words = files(rest)
	case hint == "THEME":
		words = themeNames()
	}
	return lastWord(value, words)
}

// lastWord are the lines that a word makes of a value whose last word it begins with.
func lastWord(value string, words []string) (out []string) {
	at := strings.LastIndexByte(value, ' ') + 1
	for _, w := range words {
		if strings.HasPrefix(strings.ToLower(w), strings.ToLower(value[at:])) {
			out = append(out, value[:at]+w)
		}
	}
	return out
}

// files are the paths that begin with what is typed. Reading a directory of this machine is as quick as a look-up.
func files(prefix string) (out []string) {
	found, _ := filepath.Glob(prefix + "*") // a bad pattern matches nothing
	for _, f := range found {
		if info, err := os.Stat(f); err == nil && info.IsDir() {
			f += "/"
		}
		out = append(out, f)
	}
	return out
}

// objects are what a command can be about, by any of its kinds.
func (m model) objects(c command) (out []target) {
	e := m.env()
	for _, view := range strings.Fields(c.on) {
		if view == "history" {
			continue // revisions have no names of their own
		}
		for _, it := range kinds[view].items(e, scope{}) {
			out = append(out, target{view, it.id, it.name, it.v})
		}
	}
	return out
}

func (m model) objectNames(c command) (out []string) {
	for _, t := range m.objects(c) {
		out = append(out, t.name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// entered runs a command line.
func (m model) entered(value string) (model, tea.Cmd) {
	words := strings.Fields(value)
	if len(words) == 0 {
		return m, nil
	}
	c, ok := find(words[0])
	if !ok {
		return m.said("✗ no command %q: Tab completes, ? lists them", words[0]), nil
	}
	args := words[1:]
	if c.on == "" {
		if c.in != "" && !c.works(m.here().view()) {
			return m.said("✗ %s does nothing in %s", c.id, m.here().view()), nil
		}
		return c.run(m, m.here().targets(m.env()), args)
	}
	if len(args) == 0 || c.args == "" {
		on := c.about(m.here().targets(m.env()))
		if len(on) == 0 {
			return m.said("✗ %s what? %s %s", c.id, c.id, c.args), nil
		}
		return c.run(m, on, args)
	}
	on, err := pick(m.objects(c), args[0])
	if err != nil {
		return m.said("✗ %v", err), nil
	}
	return c.run(m, []target{on}, args[1:])
}

// pick finds an object by its name or the beginning of it, or by its ID; of several tasks of a slot the one that runs.
func pick(all []target, name string) (target, error) {
	var exact, like []target
	for _, t := range all {
		if t.name == name || t.id == name {
			exact = append(exact, t)
		}
	}
	for _, t := range exact {
		if task, ok := t.v.(*feed.Task); ok && task.Running() {
			return t, nil
		}
	}
	if len(exact) > 0 {
		return exact[0], nil
	}
	for _, t := range all {
		if strings.HasPrefix(t.name, name) {
			like = append(like, t)
		}
	}
	switch {
	case len(like) == 0:
		return target{}, fmt.Errorf("nothing is called %q", name)
	case len(like) > 1 && like[0].name != like[1].name:
		return target{}, fmt.Errorf("%q is the beginning of several names: %s, %s …", name, like[0].name, like[1].name)
	}
	return like[0], nil
}
