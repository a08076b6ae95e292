package compose

import (
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
)

func TestStrategyLabels(t *testing.T) {
	tests := []struct {
		name string
		x    map[string]any
		mode string
		want map[string]string
		err  string
	}{
		{name: "a number", x: map[string]any{"canary": 2}, want: map[string]string{"orch.update.canary": "2"}},
		{name: "for a time", x: map[string]any{"canary": map[string]any{"tasks": 1, "hold": "10m"}}, want: map[string]string{"orch.update.canary": "1", "orch.update.canary.hold": "10m"}},
		{name: "blue-green", x: map[string]any{"blue_green": true}, want: map[string]string{"orch.update.blue-green": "true"}},
		{name: "not blue-green", x: map[string]any{"blue_green": false}, want: map[string]string{}},
		{name: "an unknown key", x: map[string]any{"canry": 1}, err: `did you mean "canary"`},
		{name: "both", x: map[string]any{"canary": 1, "blue_green": true}, err: "exclude each other"},
		{name: "negative", x: map[string]any{"canary": -1}, err: "1 or more"},
		{name: "no number", x: map[string]any{"canary": "some"}, err: "not a number of tasks"},
		{name: "hold alone", x: map[string]any{"canary": map[string]any{"hold": "1m"}}, err: "tasks is missing"},
		{name: "bad time", x: map[string]any{"canary": map[string]any{"tasks": 1, "hold": "soon"}}, err: "not a time above zero"},
		{name: "typo", x: map[string]any{"canary": map[string]any{"tasks": 1, "holds": "1m"}}, err: `unknown key "holds"`},
		{name: "no truth", x: map[string]any{"blue_green": "perhaps"}, err: "neither true nor false"},
		{name: "a job", x: map[string]any{"canary": 1}, mode: "replicated-job", err: "a job is run again"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := types.ServiceConfig{Deploy: &types.DeployConfig{Mode: tt.mode}, Extensions: types.Extensions{"x-orch": tt.x}}
			got, err := strategyLabels(s)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %s", err, tt.err)
				}
				return
			}
			if d := cmp.Diff(tt.want, got); err != nil || d != "" {
				t.Errorf("%v %s", err, d)
			}
		})
	}
}

// A canary that is held for somebody is as far as a deploy can bring it.
func TestHeldUpdateIsDone(t *testing.T) {
	n := uint64(5)
	l := look{update: &swarm.UpdateStatus{State: swarm.UpdateStateUpdating, Message: "held: 2 of 5 tasks updated; `orch promote web` goes on"}}
	l.spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &n}
	if v := judge(l); v.phase != Done || !v.healthy || !strings.HasPrefix(v.why, "held") {
		t.Errorf("%+v", v)
	}
}
