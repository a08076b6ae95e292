package compose

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/tree"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestEveryKeyIsAccountedFor fails when compose-go's schema gains a key: it must be honoured, warned about or refused, and
// have its row, before compose-go is upgraded.
func TestEveryKeyIsAccountedFor(t *testing.T) {
	rows := map[string]status{}
	for _, row := range supportTable {
		for _, key := range row.keys() {
			if _, twice := rows[key]; twice {
				t.Errorf("%s has two rows", key)
			}
			rows[key] = row.status
		}
	}
	known := map[string]bool{}
	for _, path := range schema.AttributePaths() {
		key := string(path)
		known[key] = true
		if !covered(rows, key) {
			t.Errorf("%s has no row in supportTable", key)
		}
	}
	for key := range rows {
		if !known[key] {
			t.Errorf("supportTable has %s, which the schema does not", key)
		}
	}
}

// covered reports whether key has a row: its own, that of the map or list it is an item of, or that of a parent which is not
// honoured at all.
func covered(rows map[string]status, key string) bool {
	for _, wild := range []string{".*", ".[]"} {
		key = strings.TrimSuffix(key, wild)
	}
	if _, own := rows[key]; own {
		return true
	}
	for parent := tree.Path(key).Parent(); parent != ""; parent = parent.Parent() {
		if s, ok := rows[string(parent)]; ok && (s == warned || s == refused) {
			return true
		}
	}
	return false
}

// TestDocTable holds docs/compose.md to the table.
func TestDocTable(t *testing.T) {
	const file, begin, end = "../docs/compose.md", "<!-- table: made by go test ./compose -run TestDocTable -update -->\n", "<!-- end of table -->\n"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(b), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has lost its markers", file)
	}
	want := head + begin + table() + end + tail
	if want == string(b) {
		return
	}
	if !*update {
		t.Fatalf("%s does not show supportTable; run go test ./compose -run TestDocTable -update", file)
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func table() string {
	rows := slices.Clone(supportTable)
	slices.SortStableFunc(rows, func(a, b support) int { return strings.Compare(a.key, b.key) })
	var b strings.Builder
	b.WriteString("| key | status | how |\n|---|---|---|\n")
	for _, r := range rows {
		key := "`" + r.key + "`"
		if r.sub != "" {
			key += "<br>" + "`" + strings.Join(strings.Fields(r.sub), "` `") + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", key, r.status, r.how)
	}
	return b.String()
}
