package tui

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/docker/docker/api/types/swarm"

	"orch/tui/feed"
	"orch/tui/forward"
)

// anyShell is the better one of a container that has two.
const anyShell = "if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi"

// done tells how something ended that changes nothing in the cluster.
type done struct {
	what string
	err  error
}

// planned brings a deployment to look at.
type planned struct {
	id int
	d  *feed.Deployment
	// err is why there is none.
	err error
}

// editing brings a service's spec in a file; edited says that the editor has ended; differs what it has changed.
type editing struct{ e *feed.Edit }
type edited struct {
	e   *feed.Edit
	err error
}
type differs struct {
	name   string
	lines  []string
	change feed.Change
}

// opened and failed are about a forwarding.
type forwardOpened struct {
	f    forwarding
	stop context.CancelFunc
}
type forwardFailed struct {
	id  int
	err error
}

func shell(m model, on []target, _ []string) (model, tea.Cmd) {
	t, ok := on[0].v.(*feed.Task)
	if !ok || !t.Running() {
		return m.said("✗ %s does not run", on[0].name), nil
	}
	if len(m.program) == 0 {
		return m.said("✗ there is no program to run a shell with"), nil
	}
	args := slices.Concat(m.program[1:], []string{"--host", m.pool.Current().Host, "exec", "-it", t.ID, "sh", "-c", anyShell})
	c := exec.CommandContext(m.ctx, m.program[0], args...)
	return m, tea.ExecProcess(c, func(err error) tea.Msg {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() != 1 {
			err = nil // the shell's last command ended so
		}
		return done{"left the shell of " + t.Name, err}
	})
}

func edit(m model, on []target, _ []string) (model, tea.Cmd) {
	if len(m.editor) == 0 {
		return m.said("✗ set $EDITOR to the editor to use"), nil
	}
	ctx, pool, id := m.ctx, m.pool, on[0].id
	return m, func() tea.Msg {
		e, err := feed.BeginEdit(ctx, pool.Current().API, id)
		if err != nil {
			return changed{err: err}
		}
		return editing{e}
	}
}

func (m model) editing(e *feed.Edit) tea.Cmd {
	c := exec.CommandContext(m.ctx, m.editor[0], append(slices.Clone(m.editor[1:]), e.Path)...)
	return tea.ExecProcess(c, func(err error) tea.Msg { return edited{e, err} })
}

func finishEdit(msg edited) tea.Cmd {
	return func() tea.Msg {
		lines, change, err := msg.e.Finish()
		if err = errors.Join(msg.err, err); err != nil {
			return changed{err: err}
		}
		return differs{msg.e.Name, lines, change}
	}
}

// differs shows what an editor has changed before it is applied.
func (m model) differs(msg differs) model {
	if len(msg.lines) == 0 {
		return m.said("%s is as it was: nothing was changed", msg.name)
	}
	q := &question{yes: func(m model) (model, tea.Cmd) { return m, m.apply([]feed.Change{msg.change}) }}
	return m.push(text{kind: "diff", name: "change of " + msg.name, lines: append([]string{"y applies this, esc drops it.", ""}, msg.lines...), offer: q})
}

func deploy(m model, _ []target, args []string) (model, tea.Cmd) {
	of := func(m model, file string) (model, tea.Cmd) {
		return m.plan("plan of "+file, func(c feed.Client) (*feed.Deployment, error) { return feed.PlanFile(m.ctx, c, file) })
	}
	if len(args) > 0 {
		return of(m, args[0])
	}
	return m.prompted(prompt{label: "deploy file: ", done: of, complete: func(_ model, value string) []string { return files(value) }}, "compose.yml"), nil
}

// plan shows what a deployment would change.
func (m model) plan(name string, make func(feed.Client) (*feed.Deployment, error)) (model, tea.Cmd) {
	m.opened++
	id, pool := m.opened, m.pool
	m = m.push(text{id: id, kind: "plan", name: name, lines: []string{"Comparing."}})
	return m, func() tea.Msg {
		d, err := make(pool.Current().API)
		return planned{id, d, err}
	}
}

func (m model) planned(msg planned) model {
	for i, s := range m.trail {
		t, ok := s.(text)
		if !ok || t.id != msg.id {
			continue
		}
		switch {
		case msg.err != nil:
			t.lines = strings.Split("✗ "+msg.err.Error(), "\n")
		case msg.d.Empty:
			t.lines = append([]string{"There is nothing to change."}, msg.d.Lines...)
		default:
			t.lines = append([]string{"y deploys this, esc drops it.", ""}, msg.d.Lines...)
			t.offer = &question{yes: func(m model) (model, tea.Cmd) {
				l := logs{of: target{view: "stacks", id: msg.d.Stack, name: msg.d.Stack}, began: "Deploying."}
				l.of.name = "deploy of " + msg.d.Stack
				return m.pop().follow(l, msg.d.Run(m.ctx, m.pool.Current().API, m.deployer))
			}}
		}
		m.trail = slices.Clone(m.trail)
		m.trail[i] = t
	}
	return m
}

func applyShown(m model, _ []target, _ []string) (model, tea.Cmd) {
	t, ok := m.here().(text)
	if !ok || t.offer == nil {
		return m, nil
	}
	if t.kind == "diff" {
		m = m.pop()
	}
	return t.offer.yes(m)
}

func forwardPort(m model, on []target, args []string) (model, tea.Cmd) {
	var task *feed.Task
	switch v := on[0].v.(type) {
	case *feed.Task:
		task = v
	case *feed.Service:
		for _, t := range m.state.TasksOf(v.ID) {
			if t.Running() {
				task = t
				break
			}
		}
	}
	if task == nil || !task.Running() {
		return m.said("✗ %s does not run", on[0].name), nil
	}
	to := func(m model, value string) (model, tea.Cmd) {
		s, err := forward.ParseSpec(value)
		if err != nil {
			return m.said("✗ %v", err), nil
		}
		m.opened++
		return m, m.forward(forwarding{id: m.opened, name: task.Name, port: s.Port}, s, *task)
	}
	if len(args) > 0 {
		return to(m, args[0])
	}
	return m.prompted(prompt{label: "port of " + clean(task.Name) + ", or LOCAL:PORT: ", done: to}, ""), nil
}

// forward listens, and serves until the program ends or it is told to stop.
func (m model) forward(f forwarding, s forward.Spec, t feed.Task) tea.Cmd {
	ctx, pool, tell := m.ctx, m.pool, m.tell
	return func() tea.Msg {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(s.Local))))
		if err != nil {
			return changed{err: err}
		}
		ctx, stop := context.WithCancel(ctx)
		f.local = l.Addr().String()
		to := swarm.Task{ID: t.ID, Status: swarm.TaskStatus{ContainerStatus: &swarm.ContainerStatus{ContainerID: t.Container}}}
		go func() {
			err := forward.Serve(ctx, l, func(ctx context.Context) (net.Conn, error) {
				return forward.Dial(ctx, pool.Current().API, to, s.Port)
			}, func(err error) { tell(forwardFailed{f.id, err}) })
			if err != nil {
				tell(forwardFailed{f.id, err})
			}
		}()
		return forwardOpened{f, stop}
	}
}

func unforward(m model, on []target, _ []string) (model, tea.Cmd) {
	var stops []context.CancelFunc
	for _, t := range on {
		if f, ok := t.v.(forwarding); ok {
			m.forwards = slices.DeleteFunc(slices.Clone(m.forwards), func(o forwarding) bool { return o.id == f.id })
			stops = append(stops, m.stops[f.id])
		}
	}
	return m.refreshed(), func() tea.Msg {
		for _, stop := range stops {
			if stop != nil {
				stop()
			}
		}
		return done{what: "the forwarding has ended"}
	}
}

// Editor is the user's editor with its arguments, as $VISUAL and $EDITOR say.
func Editor(getenv func(string) string) []string {
	for _, name := range []string{"VISUAL", "EDITOR"} {
		if words := strings.Fields(getenv(name)); len(words) > 0 {
			return words
		}
	}
	for _, name := range []string{"vi", "nano"} {
		if path, err := exec.LookPath(name); err == nil {
			return []string{path}
		}
	}
	return nil
}

func (m model) said(format string, args ...any) model {
	m.note = fmt.Sprintf(format, args...)
	return m
}
