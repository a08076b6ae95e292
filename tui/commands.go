package tui

import (
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// command is one line of the key map: keys, help, the palette and the file of keys are all made from this table.
type command struct {
	id   string   // in the palette and in the file of keys
	keys []string // none for what the palette alone does
	help string
	// on are the kinds of objects that it is about, in the order of views that list them; in are screens that it works on, whatever is
	// under the cursor. With neither it works everywhere.
	on, in string
	// args are what it takes in the palette: OBJECT is the name of one of its kinds, FILE a path; the rest is for the reader.
	args string
	run  func(m model, on []target, args []string) (model, tea.Cmd)
}

// commands is filled in by init, since some lead back to it.
var commands []command

func init() {
	commands = slices.Concat(moving(), viewing(), []command{
		{id: "logs", keys: []string{"l"}, on: "tasks services stacks", args: "OBJECT", help: "logs, live and interleaved", run: showLogs},
		{id: "inspect", keys: []string{"i"}, on: "tasks services nodes networks volumes secrets configs images history", args: "OBJECT", help: "all about it, as YAML", run: inspect},
		{id: "chart", keys: []string{"u"}, on: "tasks services nodes", args: "OBJECT", help: "usage, full screen", run: showChart},
		{id: "deploys", keys: []string{"H"}, on: "stacks", args: "OBJECT", help: "deploys of the stack", run: showHistory},
		{id: "scale", keys: []string{"c"}, on: "services", args: "OBJECT N", help: "scale", run: scale},
		{id: "restart", keys: []string{"r"}, on: "services", args: "OBJECT", help: "restart", run: restart},
		{id: "rollback", keys: []string{"b"}, on: "services history", args: "OBJECT", help: "roll back", run: rollback},
		{id: "image", keys: []string{"I"}, on: "services", args: "OBJECT IMAGE", help: "run another image", run: changeImage},
		{id: "pause-update", keys: []string{"U"}, on: "services", args: "OBJECT", help: "hold the update under way", run: pauseUpdate},
		{id: "resume-update", keys: []string{"R"}, on: "services", args: "OBJECT", help: "let a held or paused update go on", run: resumeUpdate},
		{id: "edit", keys: []string{"e"}, on: "services", args: "OBJECT", help: "edit as YAML in $EDITOR", run: edit},
		{id: "shell", keys: []string{"x"}, on: "tasks", args: "OBJECT", help: "shell in it, on any node", run: shell},
		{id: "forward", keys: []string{"f"}, on: "tasks services", args: "OBJECT [LOCAL:]PORT", help: "forward a port of it to localhost", run: forwardPort},
		{id: "unforward", keys: []string{"delete", "X"}, on: "forwards", help: "end the forwarding", run: unforward},
		{id: "drain", keys: []string{"d"}, on: "nodes", args: "OBJECT", help: "drain", run: available("drain")},
		{id: "activate", keys: []string{"a"}, on: "nodes", args: "OBJECT", help: "activate", run: available("active")},
		{id: "pause", keys: []string{"p"}, on: "nodes", args: "OBJECT", help: "pause: no new tasks", run: available("pause")},
		{id: "promote", keys: []string{"P"}, on: "nodes", args: "OBJECT", help: "promote to manager", run: role("manager")},
		{id: "demote", keys: []string{"O"}, on: "nodes", args: "OBJECT", help: "demote to worker", run: role("worker")},
		{id: "label", keys: []string{"L"}, on: "nodes", args: "OBJECT KEY=VALUE", help: "set a label, or take it off: KEY=", run: label},
		{id: "remove", keys: []string{"delete", "X"}, on: "stacks services tasks nodes networks volumes secrets configs", args: "OBJECT", help: "remove; of a task, stop it", run: remove},
		{id: "deploy", keys: []string{"D"}, args: "FILE", help: "deploy a compose file, its plan first", run: deploy},
	}, reading(), general())
}

// works says whether the command does something on a screen; where it does not, neither help nor a key knows it.
func (c command) works(view string) bool {
	if c.on == "" && c.in == "" {
		return true
	}
	in, on := strings.Fields(c.in), strings.Fields(c.on)
	if slices.Contains(in, view) || slices.Contains(on, view) {
		return true
	}
	switch view {
	case "overview":
		return slices.ContainsFunc([]string{"stacks", "services", "nodes"}, func(v string) bool { return slices.Contains(on, v) })
	case "stats":
		return slices.Contains(on, "tasks") || slices.Contains(in, "tasks")
	}
	return false
}

// about are the targets that the command is for.
func (c command) about(all []target) []target {
	if c.on == "" {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(t target) bool {
		if t.view == "stats" {
			t.view = "tasks"
		}
		return !slices.Contains(strings.Fields(c.on), t.view)
	})
}

// lookup is the command of a key on the screen.
func (m model) lookup(key string) (command, bool) {
	view := m.here().view()
	var all []target
	for pass := range 2 { // what is about the object under the cursor goes before what works everywhere
		for _, c := range commands {
			if !slices.Contains(m.keys.of(c), key) || !c.works(view) || (c.on == "") != (pass == 1) {
				continue
			}
			if c.on != "" {
				if all == nil {
					all = m.here().targets(m.env())
				}
				if len(c.about(all)) == 0 && !slices.Contains(strings.Fields(c.in), view) {
					continue
				}
			}
			return c, true
		}
	}
	return command{}, false
}

// find is the command of a name.
func find(id string) (command, bool) {
	i := slices.IndexFunc(commands, func(c command) bool { return c.id == id })
	if i < 0 {
		return command{}, false
	}
	return commands[i], true
}

// moves makes a command of a motion.
func moves(id string, a motion, help string, in string, keys ...string) command {
	return command{id: id, keys: keys, help: help, in: in, run: func(m model, _ []target, _ []string) (model, tea.Cmd) {
		return m.replaced(m.here().move(m.env(), a)), nil
	}}
}

func moving() []command {
	return []command{
		moves("up", up, "up", "", "up", "k"),
		moves("down", down, "down", "", "down", "j"),
		moves("page-up", pageUp, "one page up", "", "pgup", "ctrl+b"),
		moves("page-down", pageDown, "one page down", "", "pgdown", "ctrl+f"),
		moves("top", top, "to the first", "", "home", "g"),
		moves("bottom", bottom, "to the last; logs follow", "", "end", "G"),
		moves("left", left, "to the left", texts, "left"),
		moves("right", right, "to the right", texts, "right"),
		{id: "enter", keys: []string{"enter"}, help: "go deeper", run: deeper},
		{id: "back", keys: []string{"esc"}, help: "drop the filter, or go back", run: back},
	}
}

// viewNames are the views that can be opened by name, those of the first ten with a digit as key.
var viewNames = []string{"overview", "stacks", "services", "tasks", "nodes", "stats", "history", "networks", "images", "events", "volumes", "secrets", "configs", "forwards"}

func viewing() (out []command) {
	for i, name := range viewNames {
		c := command{id: name, help: name, run: func(m model, _ []target, _ []string) (model, tea.Cmd) {
			return m.jump(newTable(kinds[name], scope{})), nil
		}}
		if i < 10 {
			c.keys = []string{string("1234567890"[i])}
		}
		out = append(out, c)
	}
	return out
}

// texts are the screens that are read, listed those that are tables.
const (
	texts  = "logs inspect plan diff revision help"
	listed = "overview stacks services tasks nodes stats history networks images events volumes secrets configs forwards"
)

// reading are the commands of logs and other texts.
func reading() []command {
	return []command{
		{id: "search", keys: []string{"/"}, in: texts, help: "search", run: search},
		{id: "next", keys: []string{"n"}, in: texts, help: "next place found", run: seek(true)},
		{id: "previous", keys: []string{"N"}, in: texts, help: "previous place found", run: seek(false)},
		{id: "follow", keys: []string{"space"}, in: "logs", help: "pause, or follow", run: onLogs(func(l logs) logs { return l.paused(!l.pause) })},
		{id: "grep", keys: []string{"&"}, in: "logs", help: "only lines that match a regular expression", run: grep},
		{id: "wrap", keys: []string{"w"}, in: "logs", help: "wrap long lines", run: options(func(o *logOptions) { o.Wrap = !o.Wrap })},
		{id: "times", keys: []string{"t"}, in: "logs", help: "timestamps", run: options(func(o *logOptions) { o.Times = !o.Times })},
		{id: "since", keys: []string{"S"}, in: "logs", help: "begin at a time, or a while ago", run: since},
		{id: "save", keys: []string{"W"}, in: texts, help: "save to a file", run: save},
		{id: "json", keys: []string{"J"}, in: "inspect", help: "JSON, or YAML", run: asJSON},
		{id: "apply", keys: []string{"y"}, in: "plan diff", help: "carry out what is shown", run: applyShown},
	}
}

func general() []command {
	return []command{
		{id: "filter", keys: []string{"/"}, in: listed, help: "filter rows", run: filter},
		{id: "sort", keys: []string{"s"}, in: listed, help: "sort by the next column", run: nextSort},
		{id: "reverse", keys: []string{"ctrl+r"}, in: listed, help: "sort the other way round", run: reverse},
		{id: "columns", keys: []string{"C"}, in: listed, args: "COLUMN...", help: "show or hide columns", run: columns},
		{id: "mark", keys: []string{"space"}, in: listed, help: "mark for an action on several", run: mark},
		{id: "copy", keys: []string{"y"}, in: listed + " chart", help: "copy the name to the clipboard", run: copyName},
		{id: "copy-id", keys: []string{"Y"}, in: listed + " chart", help: "copy the ID", run: copyID},
		{id: "theme", keys: []string{"T"}, args: "THEME", help: "dark, light or no colours", run: changeTheme},
		{id: "mouse", keys: []string{"M"}, help: "leave the mouse to the terminal, or take it", run: func(m model, _ []target, _ []string) (model, tea.Cmd) {
			m.mouse = !m.mouse
			return m, nil
		}},
		{id: "palette", keys: []string{":"}, help: "type a command", run: palette},
		{id: "help", keys: []string{"?"}, help: "this help", run: showHelp},
		{id: "quit", keys: []string{"q", "ctrl+c"}, help: "quit", run: func(m model, _ []target, _ []string) (model, tea.Cmd) { return m, tea.Quit }},
	}
}
