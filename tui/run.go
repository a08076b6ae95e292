// Package tui is the dashboard, a client of the Docker API only. Package feed does the I/O and hands in snapshots;
// Update moves the cursor, and frames are pure of (state, width, height). Nothing here may call the API from Update
// or write a name to the terminal that clean has not seen.
package tui

import (
	"context"
	"fmt"
	"io"
	"sync"

	tea "charm.land/bubbletea/v2"
	"github.com/docker/docker/client"

	"orch/tui/feed"
)

// Options say what to show. View is the first view; empty means the overview.
type Options struct {
	Client client.APIClient
	Host   string
	View   string
}

// Run shows the dashboard until the user quits or ctx ends.
func Run(ctx context.Context, o Options) error {
	m, err := newModel(o.Host, o.View)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	m.ctx, m.client = ctx, o.Client
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithFPS(30))
	var watching sync.WaitGroup
	watching.Go(func() {
		feed.Watch(ctx, o.Client, func(s feed.State) { p.Send(clusterChanged(s)) })
	})
	_, err = p.Run()
	cancel()
	watching.Wait()
	if err != nil {
		return fmt.Errorf("run the dashboard: %w", err)
	}
	return nil
}

// Snapshot writes one frame of a view as plain text.
func Snapshot(ctx context.Context, o Options, view string, width, height int, w io.Writer) error {
	m, err := newModel(o.Host, view)
	if err != nil {
		return err
	}
	if m.state, err = feed.Fetch(ctx, o.Client); err != nil {
		return fmt.Errorf("read the cluster at %s: %w", clean(o.Host), err)
	}
	m = m.listed()
	m.width, m.height = width, height
	_, err = fmt.Fprintln(w, m.frame())
	return err
}
