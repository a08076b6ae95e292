// Command bench measures what orch promises, beside its peers in the same run.
//
// It owns the figures and their targets; hosts and their dockerds are test/lab's. Every group starts what it measures from
// nothing and takes it down again. A figure is one line; the last line says how many hold.
//
//	go run ./bench -orch bin/orch [GROUP...]
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"orch/test/lab"
)

// groups are run in the order of their names.
var groups = map[string]func(ctx context.Context, b *bench) error{
	"cluster":     failover,
	"deploy":      deploy,
	"network":     networked,
	"ui":          ui,
	"update":      update,
	"passthrough": passthrough,
}

// bench is one run.
type bench struct {
	orch    string // path of the program
	rounds  int    // of what is measured several times
	figures []figure
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == scaleNode { // this program, as a node of the network group
		if err := measureNode(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	orch := flag.String("orch", "bin/orch", "the orch program to measure")
	rounds := flag.Int("rounds", 5, "how often the cluster group loses a leader and restarts a manager")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *orch, *rounds, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, orch string, rounds int, names []string) error {
	if why := lab.Missing(); why != "" {
		return fmt.Errorf("%s", why)
	}
	path, err := filepath.Abs(orch)
	if err != nil {
		return err
	}
	b := &bench{orch: path, rounds: max(rounds, 1)}
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(groups))
	}
	fmt.Println(conditions(ctx, path))
	for _, name := range names {
		group, ok := groups[name]
		if !ok {
			return fmt.Errorf("no group %q: there are %s", name, strings.Join(slices.Sorted(maps.Keys(groups)), ", "))
		}
		if err := group(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	held := 0
	for _, f := range b.figures {
		if f.holds() {
			held++
		}
	}
	fmt.Printf("%d of %d figures hold\n", held, len(b.figures))
	return nil
}

// conditions are what a recorded run has to say about where it was made.
func conditions(ctx context.Context, orch string) string {
	show := func(args ...string) string {
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
		if err != nil {
			return "unknown"
		}
		return strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("%s, %d processors, Linux %s, %s; %s", time.Now().Format(time.DateOnly), runtime.NumCPU(), show("uname", "-r"), show("dockerd", "--version"), show(orch, "--version"))
}
