package compose

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
)

func deployOf(t *testing.T, c *cluster, yaml string, o PlanOptions) error {
	t.Helper()
	_, err := Apply(t.Context(), c, planOf(t, c, yaml, o), Options{By: "me@here", Timeout: time.Minute})
	return err
}

func outcomes(t *testing.T, c *cluster) []string {
	t.Helper()
	list, err := History(t.Context(), c, "s")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range list {
		text := fmt.Sprintf("%d %s: %s", r.Number, r.Outcome, r.Summary)
		if r.Current {
			text += " (current)"
		}
		out = append(out, text)
	}
	return out
}

// nosuch rejects every task of an image of that name.
func nosuch(s swarm.Service, age time.Duration) []swarm.Task {
	if !strings.HasPrefix(s.Spec.TaskTemplate.ContainerSpec.Image, "nosuch") {
		return runsAfter(0)(s, age)
	}
	var all []swarm.Task
	for n := range int(age/time.Second) + 1 {
		s.Version.Index = uint64(100 + n)
		all = append(all, tasks(s, swarm.TaskStateRejected, "No such image: nosuch")...)
	}
	return all
}

func TestEveryDeployIsARevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.behave = nosuch
		one := "services: {web: {image: a, configs: [c], secrets: [k]}}\nconfigs: {c: {content: one}}\nsecrets: {k: {environment: K}}\n"
		one = strings.Replace(one, "secrets: {k: {environment: K}}", "secrets: {k: {file: "+file(t, "hush-hush")+"}}", 1)
		for range 2 { // the second changes nothing, and is none
			if err := deployOf(t, c, one, PlanOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := deployOf(t, c, strings.Replace(one, "image: a", "image: nosuch", 1), PlanOptions{}); err == nil {
			t.Fatal("nothing failed")
		}
		if err := deployOf(t, c, strings.Replace(one, "one", "two", 1), PlanOptions{}); err != nil {
			t.Fatal(err)
		}
		want := []string{"3 done: 1 created, 1 updated (current)", "2 rolled back: 1 updated", "1 done: 4 created"}
		if d := cmp.Diff(want, outcomes(t, c)); d != "" {
			t.Error(d)
		}
		list, _ := History(t.Context(), c, "s")
		if list[0].By != "me@here" || !strings.Contains(list[1].Error, "No such image") {
			t.Errorf("%+v", list[:2])
		}
		changes, err := list[0].Changes()
		if err != nil || len(changes) != 2 || changes[1].Name != "s_web" || len(changes[1].Fields) == 0 {
			t.Errorf("changes %+v, %v", changes, err)
		}
		for _, r := range list {
			rec, err := r.open()
			if text := fmt.Sprintf("%+v %+v", rec, r.config.Spec.Labels); err != nil || strings.Contains(text, "hush") {
				t.Errorf("a secret is in the history, or %v", err)
			}
		}
	})
}

func TestRollbackToARevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.behave = migrating
		first := "services: {web: {image: a, configs: [c], depends_on: {migrate: {condition: service_completed_successfully}}}, migrate: {image: m}}\nconfigs: {c: {content: one}}\n"
		second := "services: {web: {image: b, configs: [c]}, more: {image: x}}\nconfigs: {c: {content: two}}\n"
		third := "services: {web: {image: c}}"
		for _, yaml := range []string{first, second, third} {
			if err := deployOf(t, c, yaml, PlanOptions{Prune: true}); err != nil {
				t.Fatal(err)
			}
		}
		back := func(number, target int, yaml string) {
			t.Helper()
			plan, rev, err := NewRollback(t.Context(), c, "s", number)
			if err != nil || rev.Number != target {
				t.Fatalf("revision %+v, %v", rev, err)
			}
			if _, err := Apply(t.Context(), c, plan, Options{}); err != nil {
				t.Fatal(err)
			}
			if again := planOf(t, c, yaml, PlanOptions{Prune: true}); !again.Empty() {
				t.Errorf("not as its file says: %+v", again.Changes)
			}
		}
		back(1, 1, first)
		back(0, 3, third) // the newest that went well before the current one
		back(2, 2, second)
		if _, _, err := NewRollback(t.Context(), c, "s", 77); err == nil || !strings.Contains(err.Error(), "the kept ones are 1 to 6") {
			t.Errorf("err = %v", err)
		}
		if _, _, err := NewRollback(t.Context(), c, "other", 0); err == nil || !strings.Contains(err.Error(), "no history") {
			t.Errorf("err = %v", err)
		}
		for i := range c.configs { // somebody removes what no service uses
			if string(c.configs[i].Spec.Data) == "one" {
				c.configs = append(c.configs[:i], c.configs[i+1:]...)
				break
			}
		}
		if _, _, err := NewRollback(t.Context(), c, "s", 1); err == nil || !strings.Contains(err.Error(), "needs config s_c-") {
			t.Errorf("err = %v", err)
		}
	})
}

// What a kept revision needs is kept; what only forgotten ones needed goes, and the last twenty are the kept ones.
func TestRevisionsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		const more = 5
		for i := range KeptRevisions + more {
			if err := deployOf(t, c, fmt.Sprintf("services: {web: {image: a, configs: [c]}}\nconfigs: {c: {content: n%d}}\n", i), PlanOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(outcomes(t, c)); n != KeptRevisions {
			t.Errorf("%d revisions are kept", n)
		}
		if n := len(c.configs); n != 2*KeptRevisions {
			t.Errorf("%d configs are left, want %d", n, 2*KeptRevisions)
		}
		if _, _, err := NewRollback(t.Context(), c, "s", more+1); err != nil {
			t.Error(err)
		}
	})
}

func TestHistoryGoesWithItsStack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		for _, image := range []string{"a", "b"} {
			if err := deployOf(t, c, "services: {web: {image: "+image+"}}", PlanOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		var told []string
		c.behave = func(swarm.Service, time.Duration) []swarm.Task { return nil }
		if err := Remove(t.Context(), c, "s", RemoveOptions{Progress: func(e Event) { told = append(told, e.Name) }}); err != nil {
			t.Fatal(err)
		}
		if len(c.configs) > 0 || strings.Join(told, " ") != "web default" {
			t.Errorf("left: %+v; told of %q", c.configs, told)
		}
	})
}

func TestTwoDeploysDoNotShareANumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		plans := []*Plan{planOf(t, c, "services: {a: {image: a}}", PlanOptions{}), planOf(t, c, "services: {b: {image: b}}", PlanOptions{})}
		for i, p := range plans {
			if r, err := Apply(t.Context(), c, p, Options{}); err != nil || r.Revision != i+1 {
				t.Errorf("revision %+v, %v", r, err)
			}
		}
	})
}

func TestRevisionNameFits(t *testing.T) {
	for stack, want := range map[string]string{"shop": "orch.revision.shop.12", strings.Repeat("x", 63): "orch.revision." + strings.Repeat("x", 41) + ".12"} {
		if got := revisionName(stack, 12); got != want || len(got) > maxObjectName {
			t.Errorf("%q, %d characters", got, len(got))
		}
	}
}

// Whatever is in a config that says it is a revision, reading it ends with an answer or an error.
func FuzzRevision(f *testing.F) {
	rec := record{Services: []swarm.ServiceSpec{{}}}
	spec, err := rec.spec("s", map[string]string{labelRevision: "1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(spec.Data, "1", spec.Labels[labelUses])
	f.Fuzz(func(t *testing.T, data []byte, number, uses string) {
		list := Revisions("s", []swarm.Config{{Spec: swarm.ConfigSpec{Data: data, Annotations: swarm.Annotations{
			Labels: map[string]string{LabelNamespace: "s", labelRevision: number, labelUses: uses}}}}})
		for _, r := range list {
			if rec, err := r.open(); err == nil {
				_, _ = rec.stack("s")
			}
		}
	})
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
