package tui

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
)

// binding is one line of the key map; help is made from the same table that keys are looked up in.
type binding struct {
	keys []string
	do   action
	view string // for openView
	help string
}

var keyMap = []binding{
	{[]string{"q", "ctrl+c"}, quit, "", "quit"},
	{[]string{"up", "k"}, up, "", "one row up"},
	{[]string{"down", "j"}, down, "", "one row down"},
	{[]string{"pgup"}, pageUp, "", "one page up"},
	{[]string{"pgdown"}, pageDown, "", "one page down"},
	{[]string{"home", "g"}, top, "", "first row"},
	{[]string{"end", "G"}, bottom, "", "last row"},
	{[]string{"enter"}, enter, "", "go deeper"},
	{[]string{"esc"}, back, "", "drop the filter, or go back"},
	{[]string{"/"}, startFilter, "", "filter rows"},
	{[]string{"s"}, nextSort, "", "sort by the next column"},
	{[]string{"?"}, toggleHelp, "", "this help"},
	{[]string{"1"}, openView, "overview", "overview"},
	{[]string{"2"}, openView, "stacks", "stacks"},
	{[]string{"3"}, openView, "services", "services"},
	{[]string{"4"}, openView, "tasks", "tasks"},
	{[]string{"5"}, openView, "nodes", "nodes"},
	{[]string{"6"}, openView, "events", "events"},
}

func lookup(key string) (binding, bool) {
	for _, b := range keyMap {
		for _, k := range b.keys {
			if k == key {
				return b, true
			}
		}
	}
	return binding{}, false
}
