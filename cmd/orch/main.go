// Command orch is the command line of orch, and the daemon of a node.
//
// It owns what users type and see: flags are turned into calls of the Docker API through Docker's own client, and the answers
// go through render functions of (data, io.Writer). It keeps no state between runs, knows nothing of the store, the manager
// or the worker, and so works against Docker's swarm mode too. Only `orch daemon` leads into the lower floors.
//
// One file per noun; app.go is what the commands share, output.go how rows become a table, JSON or a template's text.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker from `git describe`.
var version = "dev"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks; a second one ends the process as usual.
	context.AfterFunc(ctx, stop)
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv}
	return a.main(ctx, os.Args[1:])
}
