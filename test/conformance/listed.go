package conformance

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"
)

// A Difference is one that is meant.
type Difference struct {
	// Step is "scenario: step", where * stands for anything.
	Step   string
	Reason string
}

// heading begins the list in docs/clients.md.
const heading = "## Differences that are meant"

var entry = regexp.MustCompile("^- `(.+)`: (.+)$")

// Listed reads the differences that are meant from the page that tells users of them.
func Listed(page string) ([]Difference, error) {
	raw, err := os.ReadFile(page)
	if err != nil {
		return nil, err
	}
	_, list, ok := strings.Cut(string(raw), "\n"+heading+"\n")
	if !ok {
		return nil, fmt.Errorf("%s has no heading %q", page, heading)
	}
	list, _, _ = strings.Cut(list, "\n## ")
	var all []Difference
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "- ") {
			continue
		}
		m := entry.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("%s: a difference is written - `scenario: step`: reason, not %q", page, line)
		}
		all = append(all, Difference{Step: m[1], Reason: m[2]})
	}
	return all, nil
}

// covers says whether a step's difference is the one that is meant.
func (d Difference) covers(scenario string, step Step) bool {
	pattern := regexp.QuoteMeta(d.Step)
	ok, err := regexp.MatchString("^"+strings.ReplaceAll(pattern, `\*`, ".*")+"$", scenario+": "+step.Text)
	return err == nil && ok
}

// Page is where the differences are listed, as seen from this package's directory.
var Page = path.Join("..", "..", "docs", "clients.md")
