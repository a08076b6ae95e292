package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// write puts files into a directory of its own.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shop")
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t *testing.T, yaml string) (*Project, error) {
	t.Helper()
	return Load(context.Background(), LoadOptions{WorkingDir: write(t, map[string]string{"compose.yaml": yaml}), Env: []string{}})
}

func TestLoadErrorsSayWhere(t *testing.T) {
	for _, c := range []struct {
		name, yaml string
		line       int
		key, text  string
	}{
		{"syntax", "services:\n  web:\n    image: [a\n  x: b\n", 4, "", "did not find expected"},
		{"tab", "services:\n\tweb: {}\n", 2, "", ""},
		{"unknown key of a service", "services:\n  web:\n    imgae: a\n", 3, "services.web.imgae", `unknown key; did you mean "image"?`},
		{"unknown key far from all", "services:\n  web:\n    image: a\n    zzzzzzzz: 1\n", 4, "services.web.zzzzzzzz", "unknown key"},
		{"unknown top-level key", "servces:\n  web: {image: a}\n", 1, "servces", `unknown key; did you mean "services"?`},
		{"unknown key of deploy", "services:\n  web:\n    image: a\n    deploy:\n      replica: 1\n", 5, "services.web.deploy.replica", `unknown key; did you mean "replicas"?`},
		{"missing variable", "services:\n  web:\n    image: ${TAG:?set TAG}\n", 3, "services.web.image", "set TAG"},
		{"wrong type", "services:\n  web:\n    image: a\n    ports: {}\n", 4, "services.web.ports", "must be a array"},
		{"refused", "services:\n  web:\n    image: a\n    volumes_from: [b]\n  b: {image: a}\n", 4, "services.web.volumes_from", "not supported: "},
		{"cycle", "services:\n  a: {image: a, depends_on: [b]}\n  b: {image: a, depends_on: [a]}\n", 2, "services.a.depends_on", "cycle"},
		{"unknown dependency", "services:\n  a: {image: a, depends_on: [nope]}\n", 2, "services.a.depends_on", "nope"},
		{"undefined network", "services:\n  a:\n    image: a\n    networks: [nope]\n", 4, "services.a.networks", "undefined network nope"},
		{"negative count", "services:\n  a:\n    image: a\n    deploy:\n      update_config: {parallelism: -2}\n", 5, "services.a.deploy.update_config.parallelism", "-2 is negative"},
		{"bad port", "services:\n  a:\n    image: a\n    ports:\n      - 1:1\n      - 70000:80\n", 6, "", "invalid hostPort"},
		{"bad health check", "services:\n  a:\n    image: a\n    healthcheck: {test: [x]}\n", 4, "services.a.healthcheck.test", "must start"},
		{"twice the same key", "services:\n  a:\n    image: a\n    image: b\n", 4, "", "already defined"},
		{"name too long", "services:\n  " + strings.Repeat("x", 60) + ": {image: a}\n", 2, "services." + strings.Repeat("x", 60), "Swarm allows 63"},
		{"no DNS label", "services:\n  a.b: {image: a}\n", 2, "services.a.b", "not a DNS label"},
		{"empty", "", 0, "", "empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.yaml)
			var e *LoadError
			if !errors.As(err, &e) {
				t.Fatalf("error is %T: %v", err, err)
			}
			if e.Line != c.line || e.Key != c.key || !strings.Contains(e.Text, c.text) {
				t.Errorf("line %d key %q text %q, want line %d key %q text with %q", e.Line, e.Key, e.Text, c.line, c.key, c.text)
			}
			if !strings.HasSuffix(e.File, "compose.yaml") {
				t.Errorf("file = %q", e.File)
			}
		})
	}
}

// What is wrong in a file that another takes in is placed there.
func TestErrorsOfIncludedFilesSayWhere(t *testing.T) {
	files := map[string]string{
		"compose.yaml": "include: [inc.yml, {path: [sub/more.yml]}]\nservices:\n  web:\n    extends: {file: common.yml, service: base}\n",
		"inc.yml":      "services:\n  db: {image: db}\n",
		"sub/more.yml": "services:\n  mq:\n    image: mq\n",
		"common.yml":   "services:\n  base:\n    image: a\n",
	}
	for _, c := range []struct {
		file, add, key string
		line           int
	}{
		{"inc.yml", "  cache:\n    image: a\n    stop_grace_period: -1s\n", "services.cache.stop_grace_period", 5},
		{"sub/more.yml", "    deploy: {replicas: 2, mode: global}\n", "services.mq.deploy.replicas", 4},
		{"inc.yml", "  cache: {imgae: a}\n", "services.cache.imgae", 3},
	} {
		changed := maps.Clone(files)
		changed[c.file] += c.add
		p, err := Load(t.Context(), LoadOptions{WorkingDir: write(t, changed), Env: []string{}})
		if err == nil {
			_, err = Convert(p, nil)
		}
		var e *LoadError
		if !errors.As(err, &e) {
			t.Fatalf("error is %T: %v", err, err)
		}
		if !strings.HasSuffix(e.File, c.file) || e.Line != c.line || e.Key != c.key {
			t.Errorf("%s:%d: %s, want %s:%d: %s (%v)", e.File, e.Line, e.Key, c.file, c.line, c.key, err)
		}
	}
}

func TestConvertErrorsSayWhere(t *testing.T) {
	for _, c := range []struct {
		name, below string // below `services: {web: `
		line        int
		key, text   string
	}{
		{"replicas of a global service", "    deploy:\n      mode: global\n      replicas: 2\n", 6, "services.web.deploy.replicas", "one task per node"},
		{"reservation above the limit", "    deploy:\n      resources: {limits: {cpus: '1'}, reservations: {cpus: '2'}}\n", 5, "services.web.deploy.resources", "above its limit"},
		{"negative grace", "    stop_grace_period: -1s\n", 4, "services.web.stop_grace_period", "negative"},
		{"negative restart delay", "    deploy:\n      restart_policy: {delay: -1s}\n", 5, "services.web.deploy.restart_policy.delay", "negative"},
		{"ulimits crossed", "    ulimits: {nofile: {soft: 2, hard: 1}}\n", 4, "services.web.ulimits.nofile", "above the hard one"},
		{"ports of the host's network", "    network_mode: host\n    ports: ['80:80']\n", 5, "services.web.ports", "network_mode: host"},
		{"one port twice", "    ports: ['80:80']\n  api:\n    image: a\n    ports: ['80:81']\n", 4, "services.web.ports", "published by service api already"},
		{"subnet", "    networks: [n]\nnetworks:\n  n: {ipam: {config: [{subnet: 10.0/8}]}}\n", 6, "networks.n.ipam.config", "no CIDR address"},
		{"gateway elsewhere", "    networks: [n]\nnetworks:\n  n: {ipam: {config: [{subnet: 10.0.0.0/24, gateway: 10.0.1.1}]}}\n", 6, "networks.n.ipam.config", "no address of subnet"},
		{"secret's file", "    secrets: [k]\nsecrets:\n  k: {file: ./nope}\n", 6, "secrets.k", "no such file"},
		{"unknown key of x-orch", "    x-orch: {canry: 1}\n", 4, "services.web.x-orch.canry", `did you mean "canary"?`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := load(t, "services:\n  web:\n    image: a\n"+c.below)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Convert(p, nil)
			var e *LoadError
			if !errors.As(err, &e) {
				t.Fatalf("error is %T: %v", err, err)
			}
			if e.Line != c.line || e.Key != c.key || !strings.Contains(e.Text, c.text) || !strings.HasSuffix(e.File, "compose.yaml") {
				t.Errorf("%s line %d key %q text %q, want line %d key %q text with %q", e.File, e.Line, e.Key, e.Text, c.line, c.key, c.text)
			}
		})
	}
}

func TestLoadWithoutFile(t *testing.T) {
	ctx := context.Background()
	_, err := Load(ctx, LoadOptions{WorkingDir: t.TempDir(), Env: []string{}})
	if err == nil || !strings.Contains(err.Error(), "no compose file in") {
		t.Errorf("err = %v", err)
	}
	_, err = Load(ctx, LoadOptions{Files: []string{"/nonexistent/compose.yml"}, Env: []string{}})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/nonexistent/compose.yml") {
		t.Errorf("err = %v", err)
	}
}

func TestStackName(t *testing.T) {
	dir := write(t, map[string]string{"a.yml": "services: {web: {image: a}}\n", "b.yml": "name: fromfile\nservices: {web: {image: a}}\n"})
	for _, c := range []struct {
		name, file, arg string
		env             []string
		want            string
	}{
		{"directory", "a.yml", "", nil, "shop"},
		{"file", "b.yml", "", nil, "fromfile"},
		{"environment", "b.yml", "", []string{"COMPOSE_PROJECT_NAME=fromenv"}, "fromenv"},
		{"argument", "b.yml", "arg", []string{"COMPOSE_PROJECT_NAME=fromenv"}, "arg"},
	} {
		p, err := Load(context.Background(), LoadOptions{Files: []string{filepath.Join(dir, c.file)}, ProjectName: c.arg, Env: append([]string{}, c.env...)})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if p.Stack() != c.want {
			t.Errorf("%s: stack = %q, want %q", c.name, p.Stack(), c.want)
		}
	}
}

// TestLoadMerges takes every way at once in which a file can be made of others.
func TestLoadMerges(t *testing.T) {
	dir := write(t, map[string]string{
		"base.yml":      "include: [inc.yml]\nx-env: &e {A: \"1\"}\nservices:\n  web:\n    extends: {file: common.yml, service: base}\n    image: img:${TAG:-none}\n    environment: {<<: *e, B: base}\n  off: {image: a, profiles: [debug]}\n",
		"over.yml":      "services:\n  web:\n    environment: {B: over}\n    env_file: [web.env]\n",
		"common.yml":    "services:\n  base: {image: x, labels: {from: common}}\n",
		"inc.yml":       "services:\n  db: {image: db}\n",
		"web.env":       "C=file\n",
		"variables.env": "TAG=5\n",
	})
	o := LoadOptions{Files: []string{filepath.Join(dir, "base.yml"), "-"}, EnvFiles: []string{filepath.Join(dir, "variables.env")}, Env: []string{}}
	stdin, err := os.Open(filepath.Join(dir, "over.yml"))
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	o.Stdin = stdin
	p, err := Load(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"db", "web"}, p.Services()); d != "" {
		t.Error(d)
	}
	web := p.Model().Services["web"]
	if d := cmp.Diff([]string{"A=1", "B=over", "C=file"}, environment(web.Environment)); d != "" {
		t.Error(d)
	}
	if web.Image != "img:5" || web.Labels["from"] != "common" {
		t.Errorf("web = %s %v", web.Image, web.Labels)
	}
	o.Profiles, o.Files = []string{"debug"}, o.Files[:1]
	if p, err = Load(context.Background(), o); err != nil || len(p.Services()) != 3 {
		t.Errorf("with profile: %v, %v", p, err)
	}
}

func TestWarningsNameFileAndKey(t *testing.T) {
	p, err := load(t, "services:\n  web:\n    image: a\n    container_name: xx\n    ports: [\"127.0.0.1:80:80\", \"0.0.0.0:81:81\"]\n    depends_on: {db: {condition: service_started, restart: true}}\n  db:\n    image: a\n  off:\n    image: a\n    container_name: yy\n    profiles: [p]\n")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range p.Warnings {
		text, _, _ := strings.Cut(w.String()[strings.LastIndex(w.File, "/")+1:], ": ignored")
		got = append(got, text)
	}
	want := []string{"compose.yaml:4: services.web.container_name", "compose.yaml:5: services.web.ports.[].host_ip"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestLoadOfALargeFile(t *testing.T) {
	var b strings.Builder
	b.WriteString("services:\n")
	for i := 0; b.Len() < 3<<20; i++ {
		fmt.Fprintf(&b, "  s%d:\n    image: img\n    environment:\n", i)
		for v := range 100 {
			fmt.Fprintf(&b, "      VARIABLE_%d: %s\n", v, strings.Repeat("v", 40))
		}
	}
	began := time.Now()
	p, err := load(t, b.String())
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("%d services took %s", len(p.Services()), took)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("services: {web: {image: a, ports: [80-81:80-81], deploy: {mode: global}}}")
	f.Add("services:\n  a: {image: a, healthcheck: {test: x, interval: 1s}, volumes: [v:/v, /a]}\nvolumes: {v: }\n")
	f.Add("services: {a: {build: ., secrets: [s], ulimits: {nofile: {soft: 1, hard: 2}}}}\nsecrets: {s: {environment: E}}\n")
	f.Add("name: x\nservices: {a: {image: a, tmpfs: [\"/t:size=1m\"], extra_hosts: [a:1.2.3.4]}}\n")
	f.Fuzz(func(t *testing.T, yaml string) {
		if strings.Contains(yaml, "/") && (strings.Contains(yaml, "include") || strings.Contains(yaml, "file") || strings.Contains(yaml, "extends")) {
			t.Skip("would read files of this machine")
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		p, err := Load(ctx, LoadOptions{Files: []string{"-"}, WorkingDir: t.TempDir(), ProjectName: "fuzz", Env: []string{"E=1"}, Stdin: strings.NewReader(yaml)})
		if err != nil {
			return
		}
		stack, err := Convert(p, nil)
		if err != nil {
			return
		}
		for _, s := range stack.Services {
			if fields := serviceFields(s.Spec, s.Spec, nil); len(fields) > 0 {
				t.Errorf("a spec differs from itself: %v", fields)
			}
		}
	})
}
