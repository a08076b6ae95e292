package main

import (
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/docker/go-units"
)

// colour is an ANSI SGR code; "" is the terminal's own.
type colour string

const (
	plain  colour = ""
	bold   colour = "1"
	dim    colour = "2"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
)

func (c colour) paint(s string, on bool) string {
	if !on || c == plain || s == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

// nameColours tell log prefixes apart; red is left for trouble.
var nameColours = []colour{"36", "33", "32", "35", "34", "96", "93", "92", "95", "94"}

// colourOf is always the same for a name.
func colourOf(name string) colour {
	h := fnv.New32a()
	io.WriteString(h, name)
	return nameColours[h.Sum32()%uint32(len(nameColours))]
}

// cell is text of a table; limit, when above 0, is where it is cut unless --no-trunc.
type cell struct {
	text   string
	colour colour
	limit  int
}

func text(s string) cell             { return cell{text: s} }
func tinted(s string, c colour) cell { return cell{text: s, colour: c} }
func id(s string) cell               { return cell{text: s, limit: idLength, colour: dim} }

// Lengths that IDs and long texts are cut to, as docker does.
const (
	idLength    = 12
	imageLength = 48
	errorLength = 60
)

// table is columns of aligned text; widths are counted in runes without colours.
type table struct {
	header  []string
	rows    [][]cell
	colour  bool
	noTrunc bool
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

func (t table) write(w io.Writer) error {
	lines := make([][]cell, 0, len(t.rows)+1)
	head := make([]cell, len(t.header))
	for i, h := range t.header {
		head[i] = tinted(h, bold)
	}
	lines = append(append(lines, head), t.rows...)
	widths := make([]int, len(t.header))
	for _, line := range lines {
		for i := range line {
			if c := &line[i]; !t.noTrunc {
				c.text = shorten(c.text, c.limit)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(line[i].text))
		}
	}
	var b strings.Builder
	for _, line := range lines {
		var gap int
		for i, c := range line {
			if c.text != "" {
				b.WriteString(strings.Repeat(" ", gap))
				gap = 0
			}
			b.WriteString(c.colour.paint(c.text, t.colour))
			gap += widths[i] - utf8.RuneCountInString(c.text) + 3
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// shorten cuts s to limit runes; IDs without an ellipsis, since a part of one is still good for commands.
func shorten(s string, limit int) string {
	if limit <= 0 || utf8.RuneCountInString(s) <= limit {
		return s
	}
	r := []rune(s)
	if limit == idLength {
		return string(r[:limit])
	}
	return string(r[:limit-1]) + "…"
}

// age is a time as people count it: "5 minutes", "2 days".
func age(t time.Time, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(units.HumanDuration(max(now.Sub(t), 0)), "About "))
}

// shortImage leaves the digest out, which only machines read.
func shortImage(ref string) string {
	name, _, _ := strings.Cut(ref, "@")
	return name
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
