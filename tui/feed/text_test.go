package feed

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/google/go-cmp/cmp"
)

// oneService is an API with one service; what it is asked to change it keeps.
type oneService struct {
	client.APIClient
	service swarm.Service
	asked   swarm.ServiceUpdateOptions
	early   int // how many changes another client is quicker with
	log     string
}

func (o *oneService) ServiceInspectWithRaw(context.Context, string, swarm.ServiceInspectOptions) (swarm.Service, []byte, error) {
	return o.service, []byte(`{"ID":"s","Spec":{"Name":"web","Labels":{}}}`), nil
}

func (o *oneService) ServiceUpdate(_ context.Context, _ string, _ swarm.Version, s swarm.ServiceSpec, opts swarm.ServiceUpdateOptions) (r swarm.ServiceUpdateResponse, err error) {
	if o.early > 0 {
		o.early--
		return r, errOutOfSequence{}
	}
	o.service.Spec, o.asked = s, opts
	return r, nil
}

type errOutOfSequence struct{}

func (errOutOfSequence) Error() string {
	return "rpc error: code = Unknown desc = update out of sequence"
}

func (o *oneService) TaskInspectWithRaw(context.Context, string) (swarm.Task, []byte, error) {
	return swarm.Task{}, nil, nil
}

func (o *oneService) TaskLogs(context.Context, string, container.LogsOptions) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(o.log)), nil
}

func (o *oneService) SecretInspectWithRaw(context.Context, string) (s swarm.Secret, raw []byte, err error) {
	s.Spec.Data = []byte("hidden")
	return s, nil, nil
}

func TestALogIsReadToItsEnd(t *testing.T) {
	var framed bytes.Buffer
	stdcopy.NewStdWriter(&framed, stdcopy.Stdout).Write([]byte("2026-01-02T03:04:05Z a=b,com.docker.swarm.task.id=t one\n"))
	stdcopy.NewStdWriter(&framed, stdcopy.Stderr).Write([]byte("2026-01-02T03:04:06Z com.docker.swarm.task.id=t two\n"))
	p, _ := NewPool([]Endpoint{{API: &oneService{log: framed.String()}}})
	l := OpenLog(t.Context(), p, Source{Task: "t"})
	defer l.Close()
	var got []string
	for lines := range l.Lines {
		for _, l := range lines {
			got = append(got, l.Task+" "+l.Text)
		}
	}
	if d := cmp.Diff([]string{"t one", "t two"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestChangesDoWhatTheySay(t *testing.T) {
	replicas := uint64(2)
	o := &oneService{early: 2}
	o.service.Spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &replicas}
	o.service.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{}
	o.service.PreviousSpec = &swarm.ServiceSpec{}
	o.service.UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStateUpdating}
	o.service.Spec.UpdateConfig = &swarm.UpdateConfig{Delay: 5}
	for _, c := range []Change{Scale("s", "web", 5), Restart("s", "web"), Image("s", "web", "web:2"), PauseUpdate("s", "web"), Rollback("s", "web")} {
		if err := Apply(t.Context(), o, c); err != nil {
			t.Fatal(err)
		}
	}
	s := o.service.Spec
	if *s.Mode.Replicated.Replicas != 5 || s.TaskTemplate.ForceUpdate != 1 || s.TaskTemplate.ContainerSpec.Image != "web:2" || s.UpdateConfig.Delay != never || o.asked.Rollback != "previous" {
		t.Errorf("spec %+v, options %+v", s, o.asked)
	}
	if err := Apply(t.Context(), o, ResumeUpdate("s", "web")); err != nil || o.service.Spec.UpdateConfig.Delay != 5 || o.service.Spec.Labels[pausedLabel] != "" {
		t.Errorf("resumed with %v: %+v", err, o.service.Spec)
	}
	o.service.Spec.Mode = swarm.ServiceMode{Global: &swarm.GlobalService{}}
	o.service.PreviousSpec, o.service.UpdateStatus = nil, nil
	for _, c := range []Change{Scale("s", "g", 1), Rollback("s", "g"), PauseUpdate("s", "g"), ResumeUpdate("s", "g"), Remove("events", "s", "g")} {
		if err := Apply(t.Context(), o, c); err == nil || !strings.HasPrefix(err.Error(), "g: ") {
			t.Errorf("%v", err)
		}
	}
}

func TestInspectIsYAMLOrJSONAndHoldsNoSecret(t *testing.T) {
	for asJSON, want := range map[bool]string{false: "ID: s\nSpec:\n  Name: web\n  Labels: {}", true: "{\n  \"ID\": \"s\",\n  \"Spec\": {\n    \"Name\": \"web\",\n    \"Labels\": {}\n  }\n}"} {
		got, err := Inspect(t.Context(), &oneService{}, "services", "s", asJSON)
		if d := cmp.Diff(want, strings.Join(got, "\n")); err != nil || d != "" {
			t.Errorf("%v (-want +got):\n%s", err, d)
		}
	}
	got, err := Inspect(t.Context(), &oneService{}, "secrets", "s", false)
	if text := strings.Join(got, "\n"); err != nil || strings.Contains(text, "hidden") || strings.Contains(text, "aGlkZGVu") {
		t.Errorf("%s, %v", text, err)
	}
}

func TestAnEditShowsItsDifference(t *testing.T) {
	o := &oneService{}
	o.service.Spec.Name = "web"
	o.service.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "web:1", Args: []string{"a", "b"}}
	edit := func(old, new string) ([]string, error) {
		e, err := BeginEdit(t.Context(), o, "s")
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(e.Path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(e.Path, []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		lines, change, err := e.Finish()
		if _, gone := os.Stat(e.Path); !os.IsNotExist(gone) {
			t.Error("the file is left behind")
		}
		if err == nil && lines != nil {
			err = Apply(t.Context(), o, change)
		}
		return lines, err
	}
	if lines, err := edit("", ""); lines != nil || err != nil {
		t.Errorf("nothing saved: %q, %v", lines, err)
	}
	if _, err := edit("Image:", "Imagine:"); err == nil || !strings.Contains(err.Error(), "Imagine") {
		t.Errorf("a misspelt key: %v", err)
	}
	if _, err := edit("Name: web", "Name: [web"); err == nil {
		t.Error("no YAML at all is no error")
	}
	lines, err := edit("web:1", "web:2")
	text := strings.Join(lines, "\n")
	if err != nil || !strings.Contains(text, "-     Image: web:1") || !strings.Contains(text, "+     Image: web:2") || o.service.Spec.TaskTemplate.ContainerSpec.Image != "web:2" {
		t.Errorf("%v:\n%s", err, text)
	}
}
