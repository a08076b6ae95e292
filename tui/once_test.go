package tui

import (
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"orch/tui/feed"
)

// A migration that has run is no problem, and its stack is complete.
func TestACompletedServiceIsNotMissing(t *testing.T) {
	v := swarm.Service{ID: "s", ServiceStatus: &swarm.ServiceStatus{DesiredTasks: 1, CompletedTasks: 1}}
	v.Spec.Name, v.Spec.Labels = "shop_migrate", map[string]string{stackLabel: "shop"}
	s := feed.State{Services: []swarm.Service{v}}
	if got := problems(s, ""); len(got) != 0 {
		t.Errorf("problems: %+v", got)
	}
	if got := stacks(s, "")[0].cells[2]; got != "1/1" {
		t.Errorf("the stack has %s tasks", got)
	}
	v.ServiceStatus.CompletedTasks = 0
	if got := problems(s, ""); len(got) != 1 {
		t.Errorf("a service without its task is no problem: %+v", got)
	}
}
