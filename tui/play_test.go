package tui

import (
	"fmt"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/docker/docker/api/types/swarm"

	"orch/tui/feed"
)

// day is when the tests' clusters are looked at.
var day = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// parts are a cluster of nodes, services and tasks.
func parts(nodes, services, perService int) (n []swarm.Node, v []swarm.Service, t []swarm.Task) {
	for i := range nodes {
		o := swarm.Node{ID: fmt.Sprintf("n%d", i)}
		o.Description.Hostname, o.Status.State = fmt.Sprintf("host%d", i), swarm.NodeStateReady
		o.Spec.Role, o.Spec.Availability = swarm.NodeRoleWorker, swarm.NodeAvailabilityActive
		o.Description.Resources = swarm.Resources{NanoCPUs: 4e9, MemoryBytes: 8 << 30}
		if i == 0 {
			o.Spec.Role = swarm.NodeRoleManager
			o.ManagerStatus = &swarm.ManagerStatus{Leader: true, Reachability: swarm.ReachabilityReachable}
		}
		n = append(n, o)
	}
	for i := range services {
		replicas := uint64(perService)
		s := swarm.Service{ID: fmt.Sprintf("s%d", i)}
		s.Spec.Name, s.Spec.Labels = fmt.Sprintf("web%d", i), map[string]string{feed.StackLabel: "shop"}
		s.Spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &replicas}
		s.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "shop/web:1@sha256:00"}
		v = append(v, s)
		for j := range perService {
			o := swarm.Task{ID: fmt.Sprintf("t%d.%d", i, j), ServiceID: s.ID, NodeID: fmt.Sprintf("n%d", j%nodes), Slot: j + 1, DesiredState: swarm.TaskStateRunning}
			o.Status.State, o.Status.Timestamp = swarm.TaskStateRunning, day.Add(-time.Minute)
			o.Status.ContainerStatus = &swarm.ContainerStatus{ContainerID: "c" + o.ID}
			o.Spec.ContainerSpec = s.Spec.TaskTemplate.ContainerSpec
			t = append(t, o)
		}
	}
	return n, v, t
}

// cluster is one that is well.
func cluster(nodes, services, perService int) feed.State {
	return made(parts(nodes, services, perService))
}

func made(n []swarm.Node, v []swarm.Service, t []swarm.Task) feed.State {
	s := feed.Make(n, v, t)
	s.At, s.Orch = day, true
	return s
}

// play is the dashboard after keys, without colours.
func play(t testing.TB, s feed.State, view string, keys ...string) model {
	t.Helper()
	m, err := newModel(Options{View: view, NoColour: true})
	if err != nil {
		t.Fatal(err)
	}
	return press(t, sent(m, clusterChanged{&s}), keys...)
}

func sent(m model, msgs ...tea.Msg) model {
	for _, msg := range msgs {
		next, _ := m.Update(msg)
		m = next.(model)
	}
	return m
}

func key(k string) tea.KeyPressMsg {
	for name, code := range map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "space": tea.KeySpace, "backspace": tea.KeyBackspace, "home": tea.KeyHome, "end": tea.KeyEnd} {
		if k == name {
			return tea.KeyPressMsg{Code: code}
		}
	}
	return tea.KeyPressMsg{Text: k, Code: []rune(k)[0]}
}

func press(t testing.TB, m model, keys ...string) model {
	t.Helper()
	for _, k := range keys {
		m = sent(m, key(k))
	}
	return m
}

// typing are the keys of a text.
func typing(s string) (keys []string) {
	for _, r := range s {
		if r == ' ' {
			keys = append(keys, " ")
			continue
		}
		keys = append(keys, string(r))
	}
	return keys
}

// asks runs the last key and says whether it starts work.
func asks(m model, last string) bool {
	_, cmd := m.update(key(last))
	return cmd != nil
}
