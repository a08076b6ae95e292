package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
	"orch/internal/strategy"
)

func withLabels(labels map[string]string) string {
	b, err := json.Marshal(labels)
	if err != nil {
		panic(err)
	}
	return strings.Replace(web, `"Name":"web",`, `"Name":"web","Labels":`+string(b)+`,`, 1)
}

// What is asked of an update changes its status and nothing of the service.
func TestSteer(t *testing.T) {
	canary := map[string]string{strategy.LabelCanary: "1"}
	tests := []struct {
		name, do string
		update   swarm.UpdateState // "" for none
		labels   map[string]string
		promoted bool
		want     swarm.UpdateState
		refused  string
	}{
		{name: "promote", do: "promote", labels: canary, update: "updating", want: "updating"},
		{name: "promote twice", do: "promote", labels: canary, update: "updating", promoted: true, refused: "service web has no update that waits to be promoted"},
		{name: "promote without a canary", do: "promote", update: "updating", refused: "service web has no update that waits to be promoted"},
		{name: "promote without an update", do: "promote", labels: canary, refused: "service web has no update that waits to be promoted"},
		{name: "pause", do: "pause", update: "updating", want: "paused"},
		{name: "pause a rollback", do: "pause", update: "rollback_started", want: "rollback_paused"},
		{name: "pause nothing", do: "pause", update: "completed", refused: "service web has no update under way"},
		{name: "resume", do: "resume", update: "paused", want: "updating"},
		{name: "resume a rollback", do: "resume", update: "rollback_paused", want: "rollback_started"},
		{name: "resume what goes on", do: "resume", update: "updating", refused: "service web has no update that is paused"},
		{name: "nonsense", do: "stop", update: "updating", refused: `orch.update.do: "stop" is not one of promote, pause, resume`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.call("POST", "/networks/create", `{"Name":"ingress","Driver":"overlay","Ingress":true}`)
			id := r.create(t, "/services/create", withLabels(tt.labels))
			err := r.store.Update(t.Context(), func(tx *store.Tx) error {
				s := *tx.Service(id)
				before := s.Spec
				s.PreviousSpec = &before
				if tt.update != "" {
					s.UpdateStatus = &swarm.UpdateStatus{State: tt.update}
					s.Rollout = &store.Rollout{SpecVersion: s.SpecVersion, Promoted: tt.promoted, Failed: []string{"x"}}
				}
				tx.Put(&s)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			before := r.store.View().Service(id)
			asked := map[string]string{strategy.LabelDo: tt.do}
			for k, v := range tt.labels {
				asked[k] = v
			}
			path := fmt.Sprintf("/services/web/update?version=%d", before.Version.Index)
			if status, answer := r.call("POST", path, strings.Replace(withLabels(asked), "web:1", "web:2", 1)); status != 400 {
				t.Errorf("with another change: %d %s", status, answer)
			}
			status, answer := r.call("POST", path, withLabels(asked))
			after := r.store.View().Service(id)
			if tt.refused != "" {
				if status != 400 || !strings.Contains(answer, strings.ReplaceAll(tt.refused, `"`, `\"`)) || after != before {
					t.Errorf("%d %s, want %s", status, answer, tt.refused)
				}
				return
			}
			if status != 200 || after.UpdateStatus.State != tt.want {
				t.Errorf("%d %s, %+v", status, answer, after.UpdateStatus)
			}
			if _, kept := after.Spec.Labels[strategy.LabelDo]; kept || after.PreviousSpec == nil || after.SpecVersion != before.SpecVersion {
				t.Errorf("the service has changed: %+v", after)
			}
			if after.Rollout.Promoted != (tt.do == "promote") || tt.do == "resume" && after.Rollout.Failed != nil {
				t.Errorf("rollout %+v", after.Rollout)
			}
		})
	}
}

func TestStrategyLabelsAreChecked(t *testing.T) {
	for _, labels := range []map[string]string{
		{strategy.LabelCanary: "0"}, {strategy.LabelCanary: "-1"}, {strategy.LabelCanary: "some"}, {strategy.LabelHold: "1m"},
		{strategy.LabelCanary: "1", strategy.LabelHold: "-1m"}, {strategy.LabelBlueGreen: "perhaps"}, {strategy.LabelCanary: "1", strategy.LabelBlueGreen: "true"},
		{strategy.LabelDo: "promote"},
	} {
		if status, answer := newRig(t).call("POST", "/services/create", withLabels(labels)); status != 400 || !strings.Contains(answer, "orch.update.") {
			t.Errorf("%v: %d %s", labels, status, answer)
		}
	}
	job := `{"Name":"job","Labels":{"orch.update.canary":"1"},"Mode":{"ReplicatedJob":{}},"TaskTemplate":{"ContainerSpec":{"Image":"a"}}}`
	if status, answer := newRig(t).call("POST", "/services/create", job); status != 400 {
		t.Errorf("a job with a canary: %d %s", status, answer)
	}
}
