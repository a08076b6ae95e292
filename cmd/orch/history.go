package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/client"
	"github.com/spf13/cobra"

	"orch/compose"
)

// revisionRow is a line of `orch history`.
type revisionRow struct {
	compose.Revision
	now time.Time
}

func (r revisionRow) key() string { return strconv.Itoa(r.Number) }

func (r revisionRow) cells() []cell {
	number := r.key()
	if r.Current {
		number += " *"
	}
	note := text(cmp.Or(r.Message, r.Error))
	note.limit = errorLength
	took := ""
	if r.Took > 0 {
		took = r.Took.Round(100 * time.Millisecond).String()
	}
	return []cell{text(number), text(age(r.Created, r.now)), text(r.By), text(r.Summary), tinted(string(r.Outcome), outcomeColour(r.Outcome)), text(took), note}
}

func outcomeColour(o compose.Outcome) colour {
	switch o {
	case compose.OutcomeDone:
		return green
	case compose.OutcomeRunning, compose.OutcomeUnwatched:
		return yellow
	}
	return red
}

func (a *app) historyCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "history STACK [REVISION]", Short: "Show the deploys of a stack, or what one of them changed", Args: cobra.RangeArgs(1, 2), ValidArgsFunction: a.completeRevisions,
		Long: fmt.Sprintf("Show the deploys of a stack, or what one of them changed. * is the one that the stack is at. The last %d are kept.", compose.KeptRevisions)}
	f := a.formatFlags(cmd)
	cmd.RunE = a.call(func(ctx context.Context, cli *client.Client, args []string) error {
		list, err := compose.History(ctx, cli, args[0])
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return fmt.Errorf("stack %s has no history: it begins with its first `orch deploy`", args[0])
		}
		if len(args) == 2 {
			r, err := pickRevision(list, args[1])
			if err != nil {
				return err
			}
			return a.showRevision(r, f.json || f.text == "json")
		}
		var rows []revisionRow
		for _, r := range list {
			rows = append(rows, revisionRow{r, time.Now()})
		}
		return show(a, f, []string{"REVISION", "AGE", "BY", "CHANGES", "OUTCOME", "TOOK", "NOTE"}, rows)
	})
	return cmd
}

func revisionNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, usagef("%q is no revision: want a number that `orch history` shows", s)
	}
	return n, nil
}

func pickRevision(list []compose.Revision, number string) (compose.Revision, error) {
	n, err := revisionNumber(number)
	if err != nil {
		return compose.Revision{}, err
	}
	for _, r := range list {
		if r.Number == n {
			return r, nil
		}
	}
	return compose.Revision{}, fmt.Errorf("stack %s has no revision %d: the kept ones are %d to %d", list[0].Stack, n, list[len(list)-1].Number, list[0].Number)
}

func (a *app) showRevision(r compose.Revision, asJSON bool) error {
	changes, err := r.Changes()
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(a.out, struct {
			compose.Revision
			Changes []compose.Change `json:"changes"`
		}{r, changes})
	}
	return writeRevision(a.out, r, changes)
}

func writeRevision(w io.Writer, r compose.Revision, changes []compose.Change) error {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-9s %s\n", name+":", value)
		}
	}
	line("Revision", fmt.Sprintf("%d of stack %s", r.Number, r.Stack))
	line("When", r.Created.Local().Format(time.DateTime))
	line("By", r.By)
	line("Message", r.Message)
	line("Outcome", string(r.Outcome))
	line("Error", r.Error)
	b.WriteByte('\n')
	compose.WriteChanges(&b, changes)
	_, err := io.WriteString(w, b.String())
	return err
}

// deployer is user@machine, of the user behind sudo where there is one.
func (a *app) deployer() string {
	name := a.env("SUDO_USER")
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}
