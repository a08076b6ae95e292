package compose

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v3"
)

// LoadError is an error with its place in a compose file. Line and Column are 0 where they are not known.
type LoadError struct {
	File   string
	Line   int
	Column int
	Key    string
	Text   string

	err error
}

func (e *LoadError) Error() string {
	place := e.File
	if e.Line > 0 {
		place += fmt.Sprintf(":%d", e.Line)
	}
	if e.Column > 0 {
		place += fmt.Sprintf(":%d", e.Column)
	}
	text := e.Text
	if e.Key != "" {
		text = e.Key + ": " + text
	}
	if place == "" {
		return text
	}
	return place + ": " + text
}

func (e *LoadError) Unwrap() error { return e.err }

var (
	yamlMark      = regexp.MustCompile(`line (\d+)(?:, column (\d+))?`)
	schemaText    = regexp.MustCompile(`(?s)^validating (.+?): ((?:services|networks|volumes|secrets|configs|models|jobs|include|name|x-)\S*|) ?(.*)$`)
	unknownKeys   = regexp.MustCompile(`^additional properties (.+) not allowed$`)
	quoted        = regexp.MustCompile(`'([^']+)'`)
	interpolation = regexp.MustCompile(`(?s)^error while interpolating (\S+): (.*)$`)
	keyPrefix     = regexp.MustCompile(`(?s)^((?:services|networks|volumes|secrets|configs)\.[^\s:]+):? (.*)$`)
	servicePrefix = regexp.MustCompile(`(?s)^service "([^"]+)" (.*)$`)
)

// locate gives compose-go's error a file, line, column and key as far as its text says which.
func locate(err error, files []types.ConfigFile) error {
	text := err.Error()
	if f, rest, ok := cutParse(text, files); ok {
		e := &LoadError{File: display(f), Text: strings.TrimPrefix(rest, "yaml: "), err: err}
		if m := nested.FindStringSubmatch(e.Text); m != nil {
			e.Line, _ = strconv.Atoi(m[1])
			e.Text = m[2]
			return e
		}
		e.Line, e.Column = yamlPlace(rest)
		return e
	}
	e := &LoadError{err: err}
	if e.Key, e.Text = reword(text); e.Key != "" {
	} else if m := schemaText.FindStringSubmatch(text); m != nil {
		e.File, e.Key, e.Text = display(m[1]), m[2], m[3]
		if u := unknownKeys.FindStringSubmatch(e.Text); u != nil {
			e.Key, e.Text = unknownKey(e.Key, u[1])
		} else if i := strings.LastIndex(e.Key, "."); e.Text == "false schema" && i > 0 { // the validator's word for it below services
			e.Key, e.Text = unknownKey(e.Key[:i], e.Key[i+1:])
		}
	} else if m := interpolation.FindStringSubmatch(text); m != nil {
		e.Key, e.Text = m[1], m[2]
	} else if m := keyPrefix.FindStringSubmatch(e.Text); m != nil {
		e.Key, e.Text = m[1], m[2]
	} else if m := servicePrefix.FindStringSubmatch(e.Text); m != nil {
		e.Key, e.Text = sharpen("services."+m[1], m[2]), m[2]
	}
	if len(files) == 1 && e.File == "" {
		e.File = display(files[0].Filename)
	}
	if at := newPositions(files).of(e); at.line > 0 {
		e.File, e.Line, e.Column = at.file, at.line, at.column
	}
	return e
}

// of is the place of an error: its key's, or that of the value or the end of a key that its text names.
func (p positions) of(e *LoadError) position {
	if m := bareKey.FindStringSubmatch(e.Text); e.Key == "" && m != nil {
		e.Key = p.onlyService(m[1])
	}
	if e.Key != "" {
		return p.find(e.Key)
	}
	if m := badPort.FindStringSubmatch(e.Text); m != nil {
		if at, ok := p.findValue(m[1]); ok {
			return at
		}
	}
	return position{}
}

// yamlPlace reads the place of the problem, the last that a YAML error names. Its parser counts from 0, its scanner's lines from 1.
func yamlPlace(text string) (line, column int) {
	marks := yamlMark.FindAllStringSubmatch(text, -1)
	if len(marks) == 0 {
		return 0, 0
	}
	last := marks[len(marks)-1]
	line, _ = strconv.Atoi(last[1])
	if last[2] != "" {
		column, _ = strconv.Atoi(last[2])
		column++
	}
	if strings.Contains(text, "while parsing") {
		line++
	}
	return line, column
}

// cutParse finds the file that compose-go's "failed to parse" names.
func cutParse(text string, files []types.ConfigFile) (file, rest string, ok bool) {
	rest, ok = strings.CutPrefix(text, "failed to parse ")
	if !ok {
		if strings.HasPrefix(text, "yaml: ") || strings.HasPrefix(text, "go-yaml") {
			return files[0].Filename, text, true
		}
		return "", "", false
	}
	for _, f := range files {
		if after, ok := strings.CutPrefix(rest, f.Filename+": "); ok {
			return f.Filename, after, true
		}
	}
	file, rest, _ = strings.Cut(rest, ": ")
	return file, rest, true
}

// unknownKey names a key that the schema does not know, and the known one that was probably meant.
func unknownKey(parent, names string) (key, text string) {
	name := names
	if m := quoted.FindStringSubmatch(names); m != nil {
		name = m[1]
	}
	key = name
	if parent != "" {
		key = parent + "." + name
	}
	if near := nearest(name, siblings(parent)); near != "" {
		return key, fmt.Sprintf("unknown key; did you mean %q?", near)
	}
	return key, "unknown key"
}

// nearest is the candidate within a third of the name's length in edits, the closest first; "" if there is none.
func nearest(name string, candidates []string) string {
	best, bestDistance := "", max(len(name)/3, 1)+1
	for _, c := range candidates {
		if d := distance(name, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of neighbours between a and b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}

type position struct {
	file         string
	line, column int
}

// positions finds keys in the files that were read. It is built only when there is something to report.
type positions []struct {
	file string
	root *yaml.Node
}

func newPositions(files []types.ConfigFile) positions {
	var p positions
	for _, f := range append(related(files), files...) { // the files that were named have the last word
		var doc yaml.Node
		if yaml.Unmarshal(f.Content, &doc) != nil || len(doc.Content) == 0 {
			continue // the loader has said so, or a later document of the stream is at fault
		}
		p = append(p, struct {
			file string
			root *yaml.Node
		}{display(f.Filename), doc.Content[0]})
	}
	return p
}

// find gives the place of a key path, or of its nearest parent that is written out, in the last file that has most of it.
func (p positions) find(key string) position {
	var best position
	bestDepth := 0
	path := strings.Split(key, ".")
	for _, f := range slices.Backward(p) {
		depth, n := descend(f.root, path)
		if depth > bestDepth {
			best, bestDepth = position{f.file, n.Line, n.Column}, depth
		}
	}
	return best
}

// descend follows path as far as it is there; keys may contain dots, so the longest match of a key wins.
func descend(n *yaml.Node, path []string) (depth int, at *yaml.Node) {
	at = n
	for depth < len(path) {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if n.Kind != yaml.MappingNode {
			return depth, at
		}
		step, value := 0, n
		for i := 0; i+1 < len(n.Content); i += 2 {
			parts := strings.Count(n.Content[i].Value, ".") + 1
			if depth+parts <= len(path) && n.Content[i].Value == strings.Join(path[depth:depth+parts], ".") && parts > step {
				step, at, value = parts, n.Content[i], n.Content[i+1]
			}
		}
		if step == 0 {
			return depth, at
		}
		n, depth = value, depth+step
	}
	return depth, at
}

// display shortens a path below the working directory, as compilers do.
func display(file string) string {
	if file == "-" {
		return "<stdin>"
	}
	wd, err := filepath.Abs(".")
	if err != nil {
		return file
	}
	if rel, err := filepath.Rel(wd, file); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return file
}
