package main

import (
	"fmt"

	"orch/compose"
)

// progress prints an event per line.
func (a *app) progress(string) (show func(compose.Event), end func()) {
	return func(e compose.Event) {
		fmt.Fprintf(a.err, "%s %s %s %d/%d %s\n", e.Kind, e.Name, e.Phase, e.Running, e.Desired, e.Why)
	}, func() {}
}
