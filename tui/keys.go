package tui

import (
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"orch/tui/feed"
)

// action is what a key does; each is handled in act.
type action int

const (
	quit action = iota + 1
	up
	down
	pageUp
	pageDown
	top
	bottom
	enter
	back
	startFilter
	nextSort
	toggleHelp
	openView
	showLogs
	showInspect
	ask
)

// binding is one line of the key map; help is made from the same table that keys are looked up in.
type binding struct {
	keys []string
	do   action
	view string // for openView
	help string
	in   string    // the views in which it works, empty for all
	kind feed.Kind // for ask
	to   swarm.NodeAvailability
}

var keyMap = []binding{
	{keys: []string{"q", "ctrl+c"}, do: quit, help: "quit"},
	{keys: []string{"up", "k"}, do: up, help: "one row up"},
	{keys: []string{"down", "j"}, do: down, help: "one row down"},
	{keys: []string{"pgup"}, do: pageUp, help: "one page up"},
	{keys: []string{"pgdown"}, do: pageDown, help: "one page down"},
	{keys: []string{"home", "g"}, do: top, help: "first row"},
	{keys: []string{"end", "G"}, do: bottom, help: "last row"},
	{keys: []string{"enter"}, do: enter, help: "go deeper"},
	{keys: []string{"esc"}, do: back, help: "drop the filter, or go back"},
	{keys: []string{"/"}, do: startFilter, help: "filter rows"},
	{keys: []string{"s"}, do: nextSort, help: "sort by the next column"},
	{keys: []string{"l"}, do: showLogs, in: "services tasks", help: "log, live"},
	{keys: []string{"i"}, do: showInspect, in: "services tasks nodes", help: "inspect as JSON"},
	{keys: []string{"c"}, do: ask, in: "services", kind: feed.Scale, help: "scale"},
	{keys: []string{"r"}, do: ask, in: "services", kind: feed.Restart, help: "restart"},
	{keys: []string{"b"}, do: ask, in: "services", kind: feed.Rollback, help: "roll back to the previous spec"},
	{keys: []string{"x"}, do: ask, in: "services", kind: feed.RemoveService, help: "remove"},
	{keys: []string{"d"}, do: ask, in: "nodes", kind: feed.SetAvailability, to: swarm.NodeAvailabilityDrain, help: "drain"},
	{keys: []string{"a"}, do: ask, in: "nodes", kind: feed.SetAvailability, to: swarm.NodeAvailabilityActive, help: "activate"},
	{keys: []string{"p"}, do: ask, in: "nodes", kind: feed.SetAvailability, to: swarm.NodeAvailabilityPause, help: "pause"},
	{keys: []string{"?"}, do: toggleHelp, help: "this help"},
	{keys: []string{"1"}, do: openView, view: "overview", help: "overview"},
	{keys: []string{"2"}, do: openView, view: "stacks", help: "stacks"},
	{keys: []string{"3"}, do: openView, view: "services", help: "services"},
	{keys: []string{"4"}, do: openView, view: "tasks", help: "tasks"},
	{keys: []string{"5"}, do: openView, view: "nodes", help: "nodes"},
	{keys: []string{"6"}, do: openView, view: "events", help: "events"},
}

// works says whether the binding does something in a view; where it does not, neither help nor lookup knows it.
func (b binding) works(view string) bool {
	if views[view].text && b.do == nextSort {
		return false
	}
	return b.in == "" || slices.Contains(strings.Fields(b.in), view)
}

func lookup(key, view string) (binding, bool) {
	for _, b := range keyMap {
		if !b.works(view) {
			continue
		}
		for _, k := range b.keys {
			if k == key {
				return b, true
			}
		}
	}
	return binding{}, false
}
