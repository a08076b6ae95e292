package jslog

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"orch/internal/store"
)

func TestAssembler(t *testing.T) {
	// m is "<key>@<sequence>", "…" appended when the batch goes on, "+n" when n more
	// messages were waiting behind it.
	for name, c := range map[string]struct{ in, want string }{
		"what was there at the start comes before live": {"a@1+1 b@2 c@3", "a@1,b@2 live c@3"},
		"a batch is one delivery":                       {"a@1 b@2… c@3… d@4 e@5", "a@1 live b@2,c@3,d@4 e@5"},
		"whole batches do not wait for the end":         {"a@1 b@2…+3 c@3+2 d@4+1 e@5", "a@1 live b@2,c@3 d@4 e@5"},
		"an overwritten write holds back what follows":  {"a@1 b@3+2 c@4+1 d@5 e@6", "a@1 live b@3,c@4,d@5 e@6"},
		"half a batch waits for the other half":         {"a@1 b@2…+3 d@4+1 c@5 e@6", "a@1 live b@2,d@4,c@5 e@6"},
		"lease and fence are not the state's":           {"leader@1 fence@2… a@3 leader@4 b@5", "live a@3 b@5"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			live := false
			a := &assembler{deliver: func(entries []store.Entry, l bool) error {
				if l && !live {
					live = true
					got = append(got, "live")
				}
				var s []string
				for _, e := range entries {
					s = append(s, fmt.Sprintf("%s@%d", e.Key, e.Seq))
				}
				if len(s) > 0 {
					got = append(got, strings.Join(s, ","))
				}
				return nil
			}}
			for _, s := range strings.Fields(c.in) {
				if err := a.add(parse(t, s)); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("deliveries (-want +got):\n%s", diff)
			}
		})
	}
}

func parse(t *testing.T, s string) arrival {
	t.Helper()
	m := arrival{whole: !strings.Contains(s, "…")}
	s = strings.Replace(s, "…", "", 1)
	s, more, _ := strings.Cut(s, "+")
	if more != "" {
		fmt.Sscan(more, &m.behind)
	}
	key, seq, _ := strings.Cut(s, "@")
	m.entry.Key = key
	if _, err := fmt.Sscan(seq, &m.entry.Seq); err != nil {
		t.Fatal(err)
	}
	return m
}
