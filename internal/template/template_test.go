package template

import (
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
)

func context() *Context {
	t := &bus.Task{Name: "web.n1.t1", ServiceName: "web", ServiceLabels: map[string]string{"a": "b"}, Task: swarm.Task{ID: "t1", ServiceID: "s1", NodeID: "n1"}}
	return For(t, swarm.NodeDescription{Hostname: "vm", Platform: swarm.Platform{OS: "linux", Architecture: "x86_64"}})
}

func TestExpand(t *testing.T) {
	for in, want := range map[string]string{
		"plain } { text": "plain } { text",
		"{{.Service.ID}} {{.Service.Name}} {{.Service.Labels}}":                                 "s1 web map[a:b]",
		"{{.Node.ID}} {{.Node.Hostname}} {{.Node.Platform.OS}}/{{.Node.Platform.Architecture}}": "n1 vm linux/x86_64",
		"{{.Task.ID}} {{.Task.Name}}":                                                           "t1 web.n1.t1",
		"{{.Task.Slot}}":                                                                        "n1", // of a global service
		`{{join "-" "a" .Task.ID}}`:                                                             "a-t1",
		`{{index .Service.Labels "a"}}`:                                                         "b",
	} {
		if got, err := context().Expand(in); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestPayloadSeesWhatItIsGiven(t *testing.T) {
	c := context()
	got, err := c.Payload([]byte(`{{env "A"}}{{env "B"}}{{secret "s"}}{{config "c"}}`), []string{"A=1", "A=2"},
		map[string][]byte{"s": []byte("x")}, map[string][]byte{"c": []byte("y")})
	if err != nil || string(got) != "2xy" {
		t.Errorf("%q, %v", got, err)
	}
	for _, in := range []string{`{{secret "c"}}`, `{{config "s"}}`, "{{"} {
		if _, err := c.Payload([]byte(in), nil, nil, nil); err == nil {
			t.Errorf("%q was expanded", in)
		}
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("{{.Task.Slot}}")
	f.Add("{{")
	f.Fuzz(func(t *testing.T, in string) {
		if len(in) > 200 {
			return
		}
		_, _ = context().Expand(in) // must come back
	})
}
