package main

import (
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
)

func TestTheDoctorSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	manager := func(name string, reachable swarm.Reachability, leader bool) swarm.Node {
		n := swarm.Node{ManagerStatus: &swarm.ManagerStatus{Leader: leader, Reachability: reachable}}
		n.Description.Hostname, n.Status.State = name, swarm.NodeStateReady
		return n
	}
	one := manager("a", swarm.ReachabilityReachable, true)
	b, c := manager("b", swarm.ReachabilityReachable, false), manager("c", swarm.ReachabilityReachable, false)
	gone := manager("c", swarm.ReachabilityUnreachable, false)
	down := gone
	down.Status.State = swarm.NodeStateDown
	limited := b
	limited.Status.Message = "no nftables"
	member := func(state swarm.LocalNodeState, why string) finding {
		return checkMember(system.Info{Swarm: swarm.Info{LocalNodeState: state, Error: why}})
	}
	for name, tt := range map[string]struct {
		got                finding
		verdict, found, do string
	}{
		"three managers":    {checkManagers([]swarm.Node{one, b, c}), fine, "3 of 3 reachable, a leads", ""},
		"one manager":       {checkManagers([]swarm.Node{one}), warning, "1 of 1", "orch backup"},
		"two managers":      {checkManagers([]swarm.Node{one, b}), warning, "2 of 2", "even number"},
		"one of three lost": {checkManagers([]swarm.Node{one, b, gone}), problem, "2 of 3", "0 more may be lost"},
		"a node down":       {checkNodes([]swarm.Node{one, down}), problem, "not ready: c", "orch node rm"},
		"a node that lacks": {checkNodes([]swarm.Node{one, limited}), warning, "b: no nftables", "orch node inspect"},
		"old docker":        {checkDocker(system.Info{ServerVersion: "19.03.1"}), problem, "19.03.1", "upgrade"},
		"no live-restore":   {checkDocker(system.Info{ServerVersion: "28.0.0"}), warning, "without live-restore", "daemon.json"},
		"good docker":       {checkDocker(system.Info{ServerVersion: "28.0.0", LiveRestoreEnabled: true}), fine, "28.0.0", ""},
		"locked":            {member(swarm.LocalNodeStateLocked, ""), problem, "locked", "orch unlock"},
		"damaged":           {member(swarm.LocalNodeStateError, "the cluster state is damaged"), problem, "damaged", "orch restore"},
		"no majority":       {member(swarm.LocalNodeStatePending, "waiting"), problem, "pending: waiting", "more than half"},
	} {
		if tt.got.Verdict != tt.verdict || !strings.Contains(tt.got.Found, tt.found) || !strings.Contains(tt.got.Do, tt.do) || (tt.do == "") != (tt.got.Do == "") {
			t.Errorf("%s: %+v", name, tt.got)
		}
	}
	if f := checkDisk(t.TempDir()); f.Verdict == problem || !strings.Contains(f.Found, "a sync takes") {
		t.Errorf("the disk: %+v", f)
	}
}
