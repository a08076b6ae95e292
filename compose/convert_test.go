package compose

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"orch/internal/extra"
)

// TestConvertGolden holds the conversion of nearly every key to a file that a person has read.
func TestConvertGolden(t *testing.T) {
	p, err := Load(context.Background(), LoadOptions{Files: []string{"testdata/full/compose.yml"}, Env: []string{"FIXED=fixed data"}})
	if err != nil {
		t.Fatal(err)
	}
	stack, err := Convert(p, Images{"db": "sha256:built"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(stack, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/full/stack.json"
	if *update {
		if err := os.WriteFile(golden, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(b)+"\n", "\n")); d != "" {
		t.Errorf("-want +got (read the difference, then run with -update):\n%s", d)
	}
}

func TestConvertRefuses(t *testing.T) {
	for _, c := range []struct{ name, service, text string }{
		{"no image", "{command: x}", "neither an image nor a build"},
		{"network of a service", "{image: a, network_mode: \"service:b\"}", "network_mode"},
		{"pid of a container", "{image: a, pid: \"container:x\"}", "pid"},
		{"dnsrr with ingress", "{image: a, ports: [\"80:80\"], deploy: {endpoint_mode: dnsrr}}", "mode: host"},
		{"endpoint mode", "{image: a, deploy: {endpoint_mode: lb}}", "endpoint_mode"},
		{"global with replicas", "{image: a, deploy: {mode: global, replicas: 3}}", "one task per node"},
		{"mode", "{image: a, deploy: {mode: some}}", "deploy.mode"},
		{"negative replicas", "{image: a, deploy: {replicas: -1}}", "negative"},
		{"job with update_config", "{image: a, deploy: {mode: global-job, update_config: {parallelism: 1}}}", "job"},
		{"rollback of a rollback", "{image: a, deploy: {rollback_config: {failure_action: rollback}}}", "failure_action"},
		{"ratio", "{image: a, deploy: {update_config: {max_failure_ratio: 2}}}", "max_failure_ratio"},
		{"reservation above limit", "{image: a, deploy: {resources: {limits: {memory: 8m}, reservations: {memory: 9m}}}}", "above its limit"},
		{"constraint", "{image: a, deploy: {placement: {constraints: [node.role]}}}", "expected one operator"},
		{"restart", "{image: a, restart: sometimes}", "restart"},
		{"mounted twice", "{image: a, tmpfs: [/a, /a:ro]}", "twice"},
		{"secret from an unset variable", "{image: a, secrets: [s]}", "NOT_SET is not set"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := load(t, "services:\n  web: "+c.service+"\n  b: {image: a}\nsecrets: {s: {environment: NOT_SET}}\n")
			if err == nil {
				_, err = Convert(p, nil)
			}
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("err = %v, want one with %q", err, c.text)
			}
		})
	}
}

// TestContentNames: a change of content is a change of name, and the same content in another stack has another name.
func TestContentNames(t *testing.T) {
	name := func(stack, content string) string {
		dir := write(t, map[string]string{"compose.yaml": "services: {web: {image: a, configs: [c]}}\nconfigs: {c: {file: f}}\n", "f": content})
		p, err := Load(context.Background(), LoadOptions{WorkingDir: dir, ProjectName: stack, Env: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		s, err := Convert(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		if ref := s.Services[0].Spec.TaskTemplate.ContainerSpec.Configs[0].ConfigName; ref != s.Configs[0].Name {
			t.Errorf("the service refers to %s, the config is %s", ref, s.Configs[0].Name)
		}
		return s.Configs[0].Name
	}
	one := name("shop", "1")
	if !strings.HasPrefix(one, "shop_c-") || len(one) != len("shop_c-")+8 {
		t.Errorf("name = %q", one)
	}
	if name("shop", "1") != one || name("shop", "2") == one || strings.HasSuffix(name("other", "1"), one[len(one)-8:]) {
		t.Error("names do not follow stack and content")
	}
}

// TestRebuildRolls: the image's id is in the container's labels, so that only a rebuild that changed something restarts.
func TestRebuildRolls(t *testing.T) {
	p, err := load(t, "services: {web: {image: a}}\n")
	if err != nil {
		t.Fatal(err)
	}
	specs := map[string]string{}
	for _, id := range []string{"sha256:1", "sha256:2"} {
		s, err := Convert(p, Images{"web": id})
		if err != nil {
			t.Fatal(err)
		}
		specs[id] = s.Services[0].Spec.TaskTemplate.ContainerSpec.Labels[extra.Label]
	}
	if specs["sha256:1"] == specs["sha256:2"] {
		t.Errorf("labels are the same: %v", specs)
	}
}
