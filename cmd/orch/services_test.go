package main

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/google/go-cmp/cmp"
)

// A service that is to run once is done when its task has completed, and its stack is as well as the others.
func TestAServiceThatRunsOnceIsDone(t *testing.T) {
	once := func(id, name string) swarm.Service {
		s := swarm.Service{ID: id, ServiceStatus: &swarm.ServiceStatus{DesiredTasks: 1}}
		s.Spec.Name, s.Spec.Labels = name, map[string]string{stackLabel: "shop"}
		s.Spec.Mode.Replicated = &swarm.ReplicatedService{}
		s.Spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionOnFailure}
		return s
	}
	task := func(service string, age time.Duration, state swarm.TaskState) swarm.Task {
		t := swarm.Task{ID: service + string(state), ServiceID: service, Slot: 1, Status: swarm.TaskStatus{State: state}}
		t.CreatedAt = time.Now().Add(-age)
		return t
	}
	f := &fake{
		services: []swarm.Service{once("s1", "shop_migrate"), once("s2", "shop_seed")},
		tasks: []swarm.Task{
			task("s1", time.Minute, swarm.TaskStateFailed), task("s1", time.Second, swarm.TaskStateComplete),
			task("s2", time.Minute, swarm.TaskStateComplete), task("s2", time.Second, swarm.TaskStateFailed),
		},
	}
	cli, err := client.NewClientWithOpts(client.WithHost(f.serve(t, t.TempDir())), client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	done, err := completed(t.Context(), cli, f.services)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]uint64{"s1": 1}, done); diff != "" {
		t.Errorf("completed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]stackRow{{Name: "shop", Services: 2, Running: 1, Desired: 2, Status: "incomplete"}}, stackRows(f.services, done)); diff != "" {
		t.Errorf("one of two is done (-want +got):\n%s", diff)
	}
	done["s2"] = 1
	if got := stackRows(f.services, done)[0].Status; got != "running" {
		t.Errorf("with both done the stack is %s", got)
	}
}
