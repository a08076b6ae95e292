package compose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/tree"
	"github.com/compose-spec/compose-go/v2/types"
)

// status is what becomes of a key of the compose specification.
type status string

const (
	honoured status = "honoured" // does what the specification says, on orch and on Swarm
	orchOnly status = "orch"     // honoured by orch; a real Swarm lacks it, and a plan against one says so
	warned   status = "warned"   // has no effect, and a warning names it
	refused  status = "refused"  // an error: a stack without it would not be what the file describes
)

// support is one row of the table that docs/compose.md shows and that a test holds to compose-go's schema.
type support struct {
	key    string
	status status
	how    string // what it becomes; for the others, why not
	sub    string // keys below it that share the row, relative, separated by blanks
	set    func(value any) bool
}

// keys are the row's full key patterns.
func (s support) keys() []string {
	keys := []string{s.key}
	for _, sub := range strings.Fields(s.sub) {
		keys = append(keys, s.key+"."+sub)
	}
	return keys
}

// unsupportedPatterns asks compose-go to report the keys of the rows that are warned about or refused.
func unsupportedPatterns() []loader.UnsupportedAttributePattern {
	var patterns []loader.UnsupportedAttributePattern
	for _, row := range supportTable {
		if row.status != warned && row.status != refused {
			continue
		}
		for _, key := range row.keys() {
			patterns = append(patterns, loader.UnsupportedAttributePattern{Path: tree.Path(key), Detect: row.set})
		}
	}
	return patterns
}

// account turns what compose-go found into warnings, or an error for the first key that is refused.
func (p *Project) account(found []loader.UnsupportedAttribute, files []types.ConfigFile) error {
	if len(found) == 0 {
		return nil
	}
	at := newPositions(files)
	for _, f := range found {
		key := string(f.Path)
		if name, ok := strings.CutPrefix(key, "services."); ok {
			name, _, _ = strings.Cut(name, ".")
			if _, disabled := p.model.DisabledServices[name]; disabled {
				continue
			}
		}
		row := rowOf(f.Path)
		place := at.find(key)
		if row.status == refused {
			return &LoadError{File: place.file, Line: place.line, Column: place.column, Key: key, Text: "not supported: " + row.how}
		}
		w := Warning{File: place.file, Line: place.line, Key: key, Text: "ignored: " + row.how}
		if !slices.Contains(p.Warnings, w) {
			p.Warnings = append(p.Warnings, w)
		}
	}
	return nil
}

func rowOf(path tree.Path) support {
	for _, row := range supportTable {
		for _, key := range row.keys() {
			if path.Matches(tree.Path(key)) && row.status != honoured && row.status != orchOnly {
				return row
			}
		}
	}
	return support{status: warned, how: "not known to this version"}
}

// siblings are the keys that the schema allows below parent.
func siblings(parent string) []string {
	var names []string
	path := tree.Path(parent)
	for _, p := range schema.AttributePaths() {
		i := strings.LastIndex(string(p), ".")
		if i < 0 && parent == "" {
			names = append(names, string(p))
		} else if i >= 0 && parent != "" && path.Matches(p[:i]) {
			names = append(names, string(p[i+1:]))
		}
	}
	return names
}

// checkNames refuses names that the API would refuse, before anything is written.
func (p *Project) checkNames(files []types.ConfigFile) error {
	for _, s := range p.Services() {
		full := p.Stack() + "_" + s
		text := ""
		switch {
		case len(full) > maxServiceName:
			text = fmt.Sprintf("the service would be named %q, %d characters; Swarm allows %d", full, len(full), maxServiceName)
		case !serviceName.MatchString(full):
			text = fmt.Sprintf("the service would be named %q, which is not a DNS label: letters, digits, - and _ only", full)
		default:
			continue
		}
		place := newPositions(files).find("services." + s)
		return &LoadError{File: place.file, Line: place.line, Column: place.column, Key: "services." + s, Text: text}
	}
	return nil
}
