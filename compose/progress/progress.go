// Package progress shows a deploy's events to people: one plain line per change where output is a file or a pipe, and a
// live block with one line per service on a terminal.
//
// A renderer owns its writer from the first event to Close. It decides nothing about the deploy, and must never block it
// on anything but that writer.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"

	"orch/compose"
)

// Renderer shows events until it is closed.
type Renderer interface {
	Event(compose.Event)
	Close()
}

// New picks the live block for a terminal and plain lines for everything else.
func New(out io.Writer) Renderer {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return NewPlain(out)
	}
	size := func() (int, int) {
		w, h, err := term.GetSize(int(f.Fd()))
		if err != nil {
			return 80, 24
		}
		return w, h
	}
	return NewLive(out, size, os.Getenv("NO_COLOR") == "")
}

// Plain writes a line for every change of phase, count or reason.
type Plain struct {
	out   io.Writer
	began time.Time
}

// NewPlain starts the clock of the lines' first column.
func NewPlain(out io.Writer) *Plain { return &Plain{out: out, began: time.Now()} }

// Event writes one line. An output that is gone does not end the deploy.
func (p *Plain) Event(e compose.Event) {
	at := max(e.Time.Sub(p.began), 0)
	_, _ = fmt.Fprintf(p.out, "%7.1fs  %s\n", at.Seconds(), text(e))
}

// Close has nothing left to write.
func (p *Plain) Close() {}

func text(e compose.Event) string {
	if e.Kind != compose.KindService {
		return fmt.Sprintf("%s %s %s", e.Kind, e.Name, map[compose.Phase]string{compose.Done: "created", compose.Removed: "removed"}[e.Phase])
	}
	s := fmt.Sprintf("%s %s", e.Name, e.Phase)
	if e.Phase != compose.Removed {
		s += fmt.Sprintf(" %d/%d", e.Running, e.Desired)
	}
	if e.Why != "" {
		s += ": " + oneLine(e.Why)
	}
	return s
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// frameEvery is how often the live block is drawn: fast enough for the eye, slow enough for a slow line.
const frameEvery = 100 * time.Millisecond

// Live redraws a block of lines in place, one per service.
type Live struct {
	size  func() (width, height int)
	color bool
	stop  chan struct{}
	done  chan struct{}

	mu    sync.Mutex // guards what is below
	out   io.Writer
	names []string
	last  map[string]compose.Event
	since map[string]time.Time
	drawn int // lines on the screen that belong to the block
	frame int
}

// NewLive draws on out until Close. size is asked before every frame, so that a resized window is drawn right.
func NewLive(out io.Writer, size func() (width, height int), color bool) *Live {
	l := &Live{out: out, size: size, color: color, stop: make(chan struct{}), done: make(chan struct{}), last: map[string]compose.Event{}, since: map[string]time.Time{}}
	go l.run()
	return l
}

// Event is shown with the next frame.
func (l *Live) Event(e compose.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Kind != compose.KindService {
		return // networks, secrets and configs take no time worth a line
	}
	if _, known := l.last[e.Name]; !known {
		l.names = append(l.names, e.Name)
		l.since[e.Name] = e.Time
	}
	l.last[e.Name] = e
}

// Close draws the last frame, leaves it on the screen and returns.
func (l *Live) Close() {
	close(l.stop)
	<-l.done
}

func (l *Live) run() {
	defer close(l.done)
	tick := time.NewTicker(frameEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.draw(true)
		case <-l.stop:
			l.draw(false)
			return
		}
	}
}

// draw writes a frame as one write: up to the block's first line, then each line and the erasing of its rest, so that
// nothing blinks.
func (l *Live) draw(clip bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.names) == 0 {
		return
	}
	l.frame++
	width, height := l.size()
	lines := l.render(time.Now(), width)
	if clip && height > 1 && len(lines) > height-1 { // a block taller than the window cannot be redrawn
		hidden := len(lines) - (height - 2)
		lines = append(lines[:height-2], fmt.Sprintf("… and %d more", hidden))
	}
	var b strings.Builder
	if l.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dF", l.drawn)
	}
	for _, line := range lines {
		b.WriteString(line + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	l.drawn = len(lines)
	_, _ = io.WriteString(l.out, b.String())
}

var spinner = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// render is pure of the events, the time and the width: a line per service that never wraps.
func (l *Live) render(now time.Time, width int) []string {
	nameWidth := 0
	for _, n := range l.names {
		nameWidth = max(nameWidth, lipgloss.Width(n))
	}
	var lines []string
	for _, n := range l.names {
		e := l.last[n]
		mark, color := spinner[l.frame%len(spinner)], lipgloss.Yellow
		end := now
		switch e.Phase {
		case compose.Done:
			mark, color, end = "✔", lipgloss.Green, e.Time
		case compose.Failed:
			mark, color, end = "✘", lipgloss.Red, e.Time
		case compose.Removed:
			mark, color, end = "-", lipgloss.Green, e.Time
		case compose.Waiting:
			mark, color = "·", lipgloss.Blue
		}
		rest := fmt.Sprintf(" %s%s  %d/%d  %-8s %5.1fs  %s", n, strings.Repeat(" ", nameWidth-lipgloss.Width(n)), e.Running, e.Desired, e.Phase, end.Sub(l.since[n]).Seconds(), oneLine(e.Why))
		rest = cut(strings.TrimRight(rest, " "), width-2)
		if l.color {
			mark = lipgloss.NewStyle().Foreground(color).Render(mark)
		}
		lines = append(lines, mark+rest)
	}
	return lines
}

// cut shortens a line to width columns.
func cut(s string, width int) string {
	if lipgloss.Width(s) <= width {
		return s
	}
	var b strings.Builder
	used := 0
	for _, r := range s {
		w := lipgloss.Width(string(r))
		if used+w > width-1 {
			break
		}
		b.WriteRune(r)
		used += w
	}
	return b.String() + "…"
}
