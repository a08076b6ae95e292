package tui

import (
	"time"

	"orch/tui/feed"
)

// env is all that a screen draws from, beside itself.
type env struct {
	state         *feed.State
	usage         *meters
	theme         theme
	now           time.Time
	width, height int // of what it may draw
	forwards      []forwarding
}

// screen is the model of one view. It is a value: what moves it returns another one.
type screen interface {
	// view names it; keys, help and what is remembered go by that.
	view() string
	// title is its part of the breadcrumb, and status what is beside that: a filter, a pause.
	title() string
	status(e env) string
	// move does what a key of moving says.
	move(e env, a motion) screen
	// changed takes a new state of the cluster in.
	changed(e env) screen
	// draw returns at most e.height lines, none wider than e.width.
	draw(e env) []string
	// click is a mouse button on a line of what was drawn.
	click(e env, line, column int) screen
	// targets are the objects that actions are about.
	targets(e env) []target
	// measured are the nodes whose usage it shows.
	measured(e env) []string
}

// motion is a way to move.
type motion int

const (
	up motion = iota + 1
	down
	pageUp
	pageDown
	top
	bottom
	left
	right
)

// moved is where a motion leads from at, on pages of a size, within n lines.
func moved(at int, a motion, page, n int) int {
	switch a {
	case up:
		at--
	case down:
		at++
	case pageUp:
		at -= page
	case pageDown:
		at += page
	case top:
		at = 0
	case bottom:
		at = n
	}
	return max(0, min(at, n-1))
}

// target is an object that an action is about: view is that of its kind.
type target struct {
	view, id, name string
	v              any
}
