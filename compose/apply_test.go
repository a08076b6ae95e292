package compose

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
)

func planOf(t *testing.T, c *cluster, yaml string, o PlanOptions) *Plan {
	t.Helper()
	p, err := Load(context.Background(), LoadOptions{Files: []string{"-"}, ProjectName: "s", WorkingDir: t.TempDir(), Env: []string{}, Stdin: strings.NewReader(yaml)})
	if err != nil {
		t.Fatal(err)
	}
	stack, err := Convert(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := NewPlan(context.Background(), c, stack, o)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

const ordered = `
services:
  web: {image: web, depends_on: {api: {condition: service_healthy}}}
  api: {image: api, configs: [c], depends_on: {migrate: {condition: service_completed_successfully}, absent: {condition: service_started, required: false}}, deploy: {replicas: 3}}
  migrate: {image: migrate, depends_on: [store]}
  store: {image: store, healthcheck: {test: [CMD, x]}}
  absent: {image: a, profiles: [p]}
configs: {c: {content: one}}
`

// migrating runs every service but migrate, which completes.
func migrating(s swarm.Service, age time.Duration) []swarm.Task {
	if strings.HasSuffix(s.Spec.Name, "migrate") && age > 100*time.Millisecond {
		return tasks(s, swarm.TaskStateComplete, "")
	}
	return runsAfter(100*time.Millisecond)(s, age)
}

func TestApplyInOrderThenNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.behave = migrating
		began := time.Now()
		if _, err := Apply(t.Context(), c, planOf(t, c, ordered, PlanOptions{}), Options{}); err != nil {
			t.Fatal(err)
		}
		want := []string{"create orch.revision.s.1", "create s_default", "create " + c.configs[1].Spec.Name, "create s_store", "create s_migrate", "create s_api", "create s_web"}
		if d := cmp.Diff(want, c.calls); d != "" {
			t.Errorf("writes (-want +got):\n%s", d)
		}
		// store starts at once, migrate completes after 100 ms, api and web are healthy after 100 ms each: the rest is
		// waiting, and each of the three waits may be late by a poll and the settling of tasks without a health check.
		if took := time.Since(began); took > 300*time.Millisecond+3*(pollFast+settle+20*time.Millisecond) {
			t.Errorf("took %s", took)
		}
		c.calls = nil
		plan := planOf(t, c, ordered, PlanOptions{})
		if !plan.Empty() {
			t.Errorf("an unchanged file is no empty plan: %+v", plan.Changes)
		}
		if _, err := Apply(t.Context(), c, plan, Options{}); err != nil || len(c.calls) > 0 {
			t.Errorf("unchanged: %v, wrote %v", err, c.calls)
		}
	})
}

// The engines' own networks are in no list of the cluster's, and yet an unchanged file is an empty plan.
func TestHostNetworkIsNoChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const yaml = `services: {a: {image: x, network_mode: host}, b: {image: x, network_mode: bridge}}`
		c := newCluster()
		c.behave = runsAfter(0)
		if _, err := Apply(t.Context(), c, planOf(t, c, yaml, PlanOptions{}), Options{}); err != nil {
			t.Fatal(err)
		}
		if p := planOf(t, c, yaml, PlanOptions{}); !p.Empty() {
			t.Errorf("an unchanged file has changes: %+v", p.Changes)
		}
	})
}

func TestPlanShowsFieldsAndRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.behave = migrating
		if _, err := Apply(t.Context(), c, planOf(t, c, ordered, PlanOptions{}), Options{}); err != nil {
			t.Fatal(err)
		}
		changed := strings.NewReplacer("replicas: 3", "replicas: 5", "image: web,", "image: web, environment: {A: b},").Replace(ordered)
		plan := planOf(t, c, changed, PlanOptions{})
		var out strings.Builder
		if err := plan.WriteText(&out); err != nil {
			t.Fatal(err)
		}
		want := "~ service s_api  (in place)\n    Mode.Replicated.Replicas: 3 -> 5\n~ service s_web  (restarts its tasks)\n    TaskTemplate.ContainerSpec.Env.A: + \"b\"\nstack s: 0 to create, 2 to update (1 with a restart), 0 to remove, 4 unchanged\n"
		if d := cmp.Diff(want, out.String()); d != "" {
			t.Error(d)
		}
	})
}

// A service restarts with what it depends on where it says so, through several services, and not with a mere scaling.
func TestRestartsWithItsDependency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		const yaml = `services:
  web: {image: w, depends_on: {api: {condition: service_started, restart: true}}}
  api: {image: a, depends_on: {db: {condition: service_started, restart: true}}}
  other: {image: o, depends_on: [db], links: [db]}
  db: {image: d}
`
		if err := deployOf(t, c, yaml, PlanOptions{}); err != nil {
			t.Fatal(err)
		}
		scaled := planOf(t, c, strings.Replace(yaml, "{image: d}", "{image: d, scale: 2}", 1), PlanOptions{})
		if n := scaled.restarting(); n != 0 {
			t.Errorf("scaling restarts %d services: %+v", n, scaled.Changes)
		}
		c.calls = nil
		changed := strings.Replace(yaml, "{image: d}", "{image: d2}", 1)
		if err := deployOf(t, c, changed, PlanOptions{}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"create orch.revision.s.2", "update s_db", "update s_api", "update s_web"}, c.calls); d != "" {
			t.Error(d)
		}
		if got := c.services["s_web"].Spec.TaskTemplate.ForceUpdate; got != 1 {
			t.Errorf("web was restarted %d times", got)
		}
		if again := planOf(t, c, changed, PlanOptions{}); !again.Empty() {
			t.Errorf("changes are left: %+v", again.Changes)
		}
	})
}

func TestChangedConfigRollsAndOldOneStaysWithItsRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		yaml := "services: {web: {image: a, configs: [c]}}\nconfigs: {c: {content: one}}\n"
		names := map[string]bool{}
		for _, content := range []string{"one", "two", "three"} {
			plan := planOf(t, c, strings.Replace(yaml, "one", content, 1), PlanOptions{})
			if _, err := Apply(t.Context(), c, plan, Options{}); err != nil {
				t.Fatal(err)
			}
			for _, cfg := range c.configs {
				names[cfg.Spec.Name] = true
			}
		}
		// Three contents, and a revision for each, all of which are kept.
		if len(names) != 6 || len(c.configs) != 6 {
			t.Errorf("saw %d configs, %d are left", len(names), len(c.configs))
		}
	})
}

func TestPruneAndReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		if _, err := Apply(t.Context(), c, planOf(t, c, "services: {a: {image: a}, b: {image: b}}", PlanOptions{}), Options{}); err != nil {
			t.Fatal(err)
		}
		c.calls = nil
		plan := planOf(t, c, "services: {b: {image: b, deploy: {mode: global}}}", PlanOptions{Prune: true})
		if _, err := Apply(t.Context(), c, plan, Options{}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"create orch.revision.s.2", "remove s_b", "create s_b", "remove s_a"}, c.calls); d != "" {
			t.Error(d)
		}
	})
}

// A process that dies at once may be shown as running for a moment, on an engine with much to do: once a service has failed,
// a moment does not count.
func TestATaskThatRunsForAMomentAfterAFailureDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.behave = func(s swarm.Service, age time.Duration) []swarm.Task {
			s.Version.Index = 100
			all := tasks(s, swarm.TaskStateFailed, "task: non-zero exit (7)")
			s.Version.Index = 101
			if age < 600*time.Millisecond {
				return append(all, tasks(s, swarm.TaskStateRunning, "")...)
			}
			return append(all, tasks(s, swarm.TaskStateFailed, "task: non-zero exit (7)")...)
		}
		file := "services: {a: {image: a, deploy: {restart_policy: {max_attempts: 1}}}}"
		_, err := Apply(t.Context(), c, planOf(t, c, file, PlanOptions{}), Options{})
		if failed := new(FailedError); !errors.As(err, &failed) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestFailedUpdateIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		before := "services: {a: {image: a}, b: {image: b}}"
		if _, err := Apply(t.Context(), c, planOf(t, c, before, PlanOptions{}), Options{}); err != nil {
			t.Fatal(err)
		}
		c.behave = func(s swarm.Service, age time.Duration) []swarm.Task {
			if !strings.HasPrefix(s.Spec.TaskTemplate.ContainerSpec.Image, "nosuch") {
				return runsAfter(0)(s, age)
			}
			var all []swarm.Task // a rejected task each second
			for n := range int(age/time.Second) + 1 {
				s.Version.Index = uint64(100 + n)
				all = append(all, tasks(s, swarm.TaskStateRejected, "No such image: nosuch")...)
			}
			return all
		}
		_, err := Apply(t.Context(), c, planOf(t, c, "services: {a: {image: a2}, b: {image: nosuch}, c: {image: c}}", PlanOptions{}), Options{})
		var failed *FailedError
		if !errors.As(err, &failed) {
			t.Fatalf("err = %v", err)
		}
		if len(failed.Failures) != 1 || failed.Failures[0].Service != "b" || failed.Failures[0].Node != "host1" || !strings.Contains(err.Error(), "No such image: nosuch (3 times)") || !strings.Contains(failed.Outcome, "rolled back a, b, c") {
			t.Errorf("%v", err)
		}
		if plan := planOf(t, c, before, PlanOptions{}); !plan.Empty() {
			t.Errorf("not as before: %+v", plan.Changes)
		}
	})
}

func TestTimeoutAndCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.behave = func(s swarm.Service, _ time.Duration) []swarm.Task {
			return tasks(s, swarm.TaskStatePending, "no suitable node (insufficient resources on 1 node)")
		}
		_, err := Apply(t.Context(), c, planOf(t, c, "services: {a: {image: a}}", PlanOptions{}), Options{Timeout: 10 * time.Second})
		var late *NotHealthyError
		if !errors.As(err, &late) || !strings.Contains(err.Error(), "insufficient resources") || strings.Contains(err.Error(), "not written") {
			t.Errorf("err = %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = Apply(ctx, c, planOf(t, c, "services: {a: {image: a}}", PlanOptions{}), Options{})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "goes on") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestGivenUpServiceIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		yaml := "services: {a: {image: a, restart: \"no\"}}"
		if _, err := Apply(t.Context(), c, planOf(t, c, yaml, PlanOptions{}), Options{}); err != nil {
			t.Fatal(err)
		}
		c.behave = func(s swarm.Service, age time.Duration) []swarm.Task {
			if s.Spec.TaskTemplate.ForceUpdate == 0 {
				return tasks(s, swarm.TaskStateFailed, "task: non-zero exit (1)")
			}
			return runsAfter(0)(s, age)
		}
		if _, err := Apply(t.Context(), c, planOf(t, c, yaml, PlanOptions{}), Options{}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPlanNamesWhatARealSwarmLacks(t *testing.T) {
	c := newCluster()
	yaml := "services: {a: {image: a, privileged: true, devices: [/dev/fuse], cpu_shares: 5, x-orch: {canary: 1}}}"
	if plan := planOf(t, c, yaml, PlanOptions{}); len(plan.Warnings) > 0 {
		t.Errorf("orch: %v", plan.Warnings)
	}
	c.orch = false
	plan := planOf(t, c, yaml, PlanOptions{})
	if len(plan.Warnings) != 1 || !strings.HasSuffix(plan.Warnings[0].Text, "lacks and ignores: devices, privileged, resources, x-orch.canary") {
		t.Errorf("Swarm: %v", plan.Warnings)
	}
}

func TestMissingExternalObjects(t *testing.T) {
	for yaml, want := range map[string]string{
		"services: {a: {image: a, networks: [n]}}\nnetworks: {n: {external: true}}":                `network "n" is declared as external`,
		"services: {a: {image: a, secrets: [n]}}\nsecrets: {n: {external: true}}":                  `secret "n" is declared as external`,
		"services: {a: {image: a, configs: [n]}}\nconfigs: {n: {external: true, name: elsewhere}}": `config "elsewhere" is declared as external`,
	} {
		p, err := load(t, yaml)
		if err != nil {
			t.Fatal(err)
		}
		stack, err := Convert(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewPlan(t.Context(), newCluster(), stack, PlanOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("err = %v, want %q", err, want)
		}
	}
}
