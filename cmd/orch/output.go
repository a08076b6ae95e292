package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
)

// format is how a list is to be printed.
type format struct {
	text    string // table, json, or a Go template
	json    bool
	quiet   bool
	noTrunc bool
	colour  bool
}

// formatFlags gives a listing command --format, --json, -q and --no-trunc.
func (a *app) formatFlags(cmd *cobra.Command) *format {
	f := &format{}
	cmd.Flags().StringVar(&f.text, "format", "table", "`table`, json, or a Go template for each row")
	cmd.Flags().BoolVar(&f.json, "json", false, "the same as --format json")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "only the IDs or names that other commands take")
	cmd.Flags().BoolVar(&f.noTrunc, "no-trunc", false, "do not shorten IDs, images and errors")
	return f
}

// row is a line of a listing. Its exported fields are what JSON and templates show.
type row interface {
	key() string   // what -q prints
	cells() []cell // of the table
}

// show prints rows: header and cells as a table, unless the format asks for something else.
func show[R row](a *app, f *format, header []string, rows []R) error {
	f.colour = a.colours(a.out)
	return render(a.out, f, header, rows)
}

func render[R row](w io.Writer, f *format, header []string, rows []R) error {
	switch {
	case f.quiet:
		for _, r := range rows {
			if _, err := fmt.Fprintln(w, r.key()); err != nil {
				return err
			}
		}
		return nil
	case f.json || f.text == "json":
		if rows == nil {
			rows = []R{}
		}
		return writeJSON(w, rows)
	case f.text == "table" || f.text == "":
		t := table{header: header, colour: f.colour, noTrunc: f.noTrunc}
		for _, r := range rows {
			t.rows = append(t.rows, r.cells())
		}
		return t.write(w)
	}
	return renderTemplate(w, f.text, rows)
}

func renderTemplate[R any](w io.Writer, text string, rows []R) error {
	t, err := template.New("format").Funcs(templateFuncs).Parse(text)
	if err != nil {
		return usagef("--format: %w", err)
	}
	for _, r := range rows {
		if err := t.Execute(w, r); err != nil {
			return usagef("--format: %w", err)
		}
		fmt.Fprintln(w)
	}
	return nil
}

// templateFuncs are docker's most used.
var templateFuncs = template.FuncMap{
	"json":  func(v any) (string, error) { b, err := json.Marshal(v); return string(b), err },
	"join":  strings.Join,
	"lower": strings.ToLower,
	"upper": strings.ToUpper,
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
