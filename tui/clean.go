package tui

import (
	"cmp"
	"strings"
	"unicode"

	"github.com/charmbracelet/x/ansi"
)

// clean makes text from the cluster safe for a terminal: whatever is not printable, escape sequences and
// bidirectional marks included, becomes a visible replacement.
func clean(s string) string {
	if plain(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return '\uFFFD'
	}, s)
}

// plain says that s is printable ASCII, as most of what is shown is.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// fit cuts or pads s to exactly width cells. It may hold the theme's colours.
func fit(s string, width int) string {
	if width <= 0 {
		return ""
	}
	n := len(s)
	if !plain(s) {
		n = ansi.StringWidth(s)
	}
	if n > width {
		s = ansi.Truncate(s, width, "…")
		n = ansi.StringWidth(s)
	}
	return s + strings.Repeat(" ", max(0, width-n))
}

// natural orders text so that web.2 comes before web.10.
func natural(a, b string) int {
	for a != "" && b != "" {
		x, y := leading(a), leading(b)
		if x > 0 && y > 0 {
			m, n := strings.TrimLeft(a[:x], "0"), strings.TrimLeft(b[:y], "0")
			if c := cmp.Or(len(m)-len(n), strings.Compare(m, n)); c != 0 {
				return c
			}
			a, b = a[x:], b[y:]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

// leading is how many digits s begins with.
func leading(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}
