package conformance

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStepsAreRead(t *testing.T) {
	s, err := Parse("x", strings.Join([]string{
		"# short", "docker ps", "sorted docker service ls", "await /2\\/2/ docker service ls", "eventually GET /tasks",
		"POST /services/create {}", "POST /x", "\t@X-A: b", "\t{", "\t}", "cat <<E", "\ta", "\tE",
	}, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, step := range s.Steps {
		until := ""
		if step.Until != nil {
			until = step.Until.String()
		}
		line := []string{step.Method, step.Path, step.Body, step.Header["X-A"], until}
		if step.Sorted {
			line = append(line, "sorted")
		}
		if step.Eventually {
			line = append(line, "eventually")
		}
		got = append(got, strings.Join(line, "|"))
	}
	want := []string{
		"||docker ps||", "||docker service ls|||sorted", "||docker service ls||2\\/2", "GET|/tasks||||eventually",
		"POST|/services/create|{}||", "POST|/x|{\n}\n|b|", "||cat <<E\na\nE||",
	}
	if diff := cmp.Diff(want, got); diff != "" || !s.Short {
		t.Errorf("short %t (-want +got):\n%s", s.Short, diff)
	}
}

func TestWhatVariesIsTakenOut(t *testing.T) {
	for in, want := range map[string]string{
		"k3v9c0x1q2w3e4r5t6y7u8i9o  web  Running 3 seconds ago": "<id>  web  Running <ago>",
		"abcdefghijkl   web":            "<short id>  web",
		"container was started":         "container was started",
		"at 2026-01-02T03:04:05.678Z x": "at <time> x",
		"on n3 (10.207.0.3)":            "on <node> (<host address>)",
	} {
		if got := normalText(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	got := normalBody(http.Header{}, []byte(`[{"Version":{"Index":7},"JobIteration":{"Index":2},"b":1,"a":"x"}]`), false)
	if want := "[\n {\n  \"JobIteration\": {\n   \"Index\": 2\n  },\n  \"Version\": {\n   \"Index\": \"<index>\"\n  },\n  \"a\": \"x\",\n  \"b\": 1\n }\n]\n"; got != want {
		t.Errorf("%s", cmp.Diff(want, got))
	}
	if got := normalBody(http.Header{}, []byte("\x01\x00\x00\x00\x00\x00\x00\x03hi\n\x02\x00\x00\x00\x00\x00\x00\x01!"), false); got != "1 \"hi\\n\"\n2 \"!\"\n" {
		t.Errorf("frames: %q", got)
	}
}

// TestEveryListedDifferenceHasAStep: the page names steps that there are, and so cannot rot.
func TestEveryListedDifferenceHasAStep(t *testing.T) {
	listed, err := Listed(Page)
	if err != nil {
		t.Fatal(err)
	}
	scenarios, err := Load("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range listed {
		found := false
		for _, s := range scenarios {
			for _, step := range s.Steps {
				found = found || d.covers(s.Name, step)
			}
		}
		if !found {
			t.Errorf("%s lists `%s`, which is no step", Page, d.Step)
		}
	}
}
