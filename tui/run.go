// Package tui is the dashboard, a client of the Docker API only. Package feed does the I/O and hands in snapshots; Update moves the
// cursor and starts commands; frames are pure of (model, width, height). There is one model per view (table, logs, text, chart), and one
// table of commands that keys, help and the palette are made from. Nothing here may call the API from Update, or write a name to the
// terminal that clean has not seen.
package tui

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	tea "charm.land/bubbletea/v2"

	"orch/tui/feed"
)

// Options say what to show, and what the dashboard may use.
type Options struct {
	// Endpoints are the APIs of one cluster's managers, at least one.
	Endpoints []feed.Endpoint
	// View is the first; empty means the one that was open last.
	View   string
	Config Config
	// Theme goes before that of the file and the one that is remembered.
	Theme string
	// Memory is the file that remembers; empty remembers nothing.
	Memory string
	// NoColour is what the user asks of all programs.
	NoColour bool
	// Program is orch with the arguments that lead to the same cluster, for shells; Editor the user's.
	Program, Editor []string
	Deployer        feed.Deployer
}

// CheckTheme refuses a theme that there is not.
func (o Options) CheckTheme() error { return checkTheme(o.Theme) }

func newModel(o Options) (model, error) {
	remembered := memory{}
	if o.Memory != "" {
		remembered = readMemory(o.Memory)
	}
	if remembered.Theme == "" {
		remembered.Theme = o.Config.Theme
	}
	if o.Theme != "" {
		remembered.Theme = o.Theme
	}
	view := o.View
	if view == "" {
		view = remembered.View
	}
	if !slices.Contains(viewNames, view) {
		if o.View != "" {
			return model{}, fmt.Errorf("no view %q; there are %s", o.View, strings.Join(viewNames, ", "))
		}
		view = viewNames[0]
	}
	m := model{
		outside: outside{ctx: context.Background(), deployer: o.Deployer, program: o.Program, editor: o.Editor, tell: func(tea.Msg) {}},
		state:   &feed.State{}, usage: newMeters(), keys: o.Config.Keys, remembered: remembered,
		stops: map[int]context.CancelFunc{}, mouse: true, width: 80, height: 24,
	}
	if len(o.Endpoints) > 0 {
		m.state.Endpoint = o.Endpoints[0].Host
	}
	if o.NoColour {
		m.remembered.Theme = "none"
	}
	m = m.themed()
	m.trail = []screen{newTable(kinds[view], scope{})}
	m.trail[0] = m.laid(m.trail[0])
	return m, nil
}

// Run shows the dashboard until the user quits or ctx ends.
func Run(ctx context.Context, o Options) error {
	m, err := newModel(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if m.pool, err = feed.NewPool(o.Endpoints); err != nil {
		return err
	}
	var program atomic.Pointer[tea.Program]
	send := func(msg tea.Msg) {
		if p := program.Load(); p != nil {
			p.Send(msg)
		}
	}
	m.ctx, m.tell = ctx, send
	m.meter = feed.NewMeter(ctx, m.pool, func(u feed.Usage) { send(metered{u}) })
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithFPS(framesPerSecond))
	program.Store(p)
	var watching sync.WaitGroup
	watching.Go(func() {
		feed.Watch(ctx, m.pool, func(s feed.State) { send(clusterChanged{&s}) })
	})
	last, err := p.Run()
	cancel()
	watching.Wait()
	m.meter.Wait()
	if err != nil {
		return fmt.Errorf("run the dashboard: %w", err)
	}
	if end, ok := last.(model); ok {
		if o.NoColour {
			end.remembered.Theme = "" // not this dashboard's choice
		}
		if err := end.remembered.write(o.Memory); err != nil {
			return fmt.Errorf("remember how the dashboard was: %w", err)
		}
	}
	return nil
}

// framesPerSecond keeps a key's way to the screen below 10 ms. Between frames only what differs is sent, so that a slow link is not flooded.
const framesPerSecond = 120

// Snapshot writes one frame of a view as plain text.
func Snapshot(ctx context.Context, o Options, width, height int, w io.Writer) error {
	o.NoColour, o.Memory = true, ""
	m, err := newModel(o)
	if err != nil {
		return err
	}
	state, err := feed.Fetch(ctx, o.Endpoints[0])
	if err != nil {
		return fmt.Errorf("read the cluster at %s: %w", clean(o.Endpoints[0].Host), err)
	}
	m.state, m.now, m.width, m.height = &state, time.Now(), width, height
	for _, l := range strings.Split(m.refreshed().frame(), "\n") {
		if _, err := fmt.Fprintln(w, strings.TrimRight(l, " ")); err != nil {
			return err
		}
	}
	return nil
}
