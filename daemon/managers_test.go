package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"
)

// Three machines become managers one after the other, each serves the API, roles change on the fly, the leader's too, and the last
// one goes on alone when the others are lost.
func TestManagersComeAndGo(t *testing.T) {
	first, second, third := newMachine(t), newMachine(t), newMachine(t)
	addr := first.initAt()
	second.joinAsManager(first, addr)
	third.joinAsManager(first, addr)
	all := []*machine{first, second, third}
	for _, m := range all {
		m.awaitManagers(3)
	}
	third.must("POST", "/secrets/create", `{"Name":"s1","Data":"YQ=="}`, nil)
	first.await("what another manager has written", func() bool { _, body := first.call("GET", "/secrets", ""); return strings.Contains(body, `"s1"`) })

	// The leader is demoted through another, and keeps nothing that only managers have.
	first.setRole(second, swarm.NodeRoleWorker)
	first.awaitRole("worker")
	second.awaitManagers(2)
	for _, name := range []string{lockFile, sealFile, "state"} {
		if _, err := os.Stat(filepath.Join(first.dataDir(), clusterDir, name)); !os.IsNotExist(err) {
			t.Errorf("a worker has %s: %v", name, err)
		}
	}
	if status, body := first.call("GET", "/nodes", ""); status != 503 || !strings.Contains(body, "Worker nodes can't be used") {
		t.Errorf("a demoted manager answers %d %s", status, body)
	}
	first.restart()
	first.setRole(second, swarm.NodeRoleManager)
	first.awaitManagers(3)

	// One leaves, which the others are told before it goes.
	if status, body := third.call("POST", "/swarm/leave", ""); status != 503 || !strings.Contains(body, "participating as a manager") {
		t.Errorf("a manager leaves: %d %s", status, body)
	}
	third.must("POST", "/swarm/leave?force=1", "", nil)
	first.awaitManagers(2)

	second.stop() // one of two: no majority
	first.await("the other to be missed", func() bool {
		_, body := first.call("GET", "/nodes", "")
		return strings.Contains(body, `"Reachability":"unreachable"`)
	})
	if status, body := first.call("POST", "/configs/create", `{"Name":"c1","Data":"YQ=="}`); status != 503 || !strings.Contains(body, "The swarm does not have a leader") {
		t.Errorf("a write without a majority: %d %s", status, body)
	}
	first.restart()
	if _, body := first.call("GET", "/nodes", ""); !strings.Contains(body, "The swarm does not have a leader") {
		t.Errorf("restarted without a majority: %s", body)
	}
	first.must("POST", "/swarm/init", `{"ForceNewCluster":true}`, nil)
	first.awaitManagers(1)
	first.must("POST", "/configs/create", `{"Name":"c1","Data":"YQ=="}`, nil)
	if _, body := first.call("GET", "/secrets", ""); !strings.Contains(body, `"s1"`) {
		t.Errorf("rescued, and the secrets are %s", body)
	}
	first.await("the last manager's demotion to be refused", func() bool {
		status, body := first.trySetRole(first, swarm.NodeRoleWorker)
		return status == 400 && strings.Contains(body, "attempting to demote the last manager of the swarm")
	})
	// The lost one is a worker when it comes back: nobody counts on it any more.
	second.start()
	second.awaitRole("worker")
}

// A manager whose disk was lost has nothing to lead with, and gets it all from the others.
func TestAWipedManagerJoinsAgain(t *testing.T) {
	first, second, third := newMachine(t), newMachine(t), newMachine(t)
	addr := first.initAt()
	second.joinAsManager(first, addr)
	third.joinAsManager(first, addr)
	third.awaitManagers(3)
	first.must("POST", "/secrets/create", `{"Name":"s1","Data":"YQ=="}`, nil)
	second.stop()
	if err := os.RemoveAll(filepath.Join(second.dataDir(), clusterDir, "state")); err != nil {
		t.Fatal(err)
	}
	second.start()
	second.awaitManagers(3)
	if _, body := second.call("GET", "/secrets", ""); !strings.Contains(body, `"s1"`) {
		t.Errorf("the secrets are %s", body)
	}
	first.awaitManagers(3)
}

// Two machines that join at once wait for each other.
func TestManagersJoinAtTheSameTime(t *testing.T) {
	first := newMachine(t)
	addr := first.initAt()
	first.must("POST", "/secrets/create", `{"Name":"s1","Data":"YQ=="}`, nil)
	others := []*machine{newMachine(t), newMachine(t)}
	joined := make(chan error, len(others))
	for _, m := range others {
		body := m.joinBody(first, addr)
		go func() {
			status, answer := m.call("POST", "/swarm/join", body)
			if status != 200 {
				joined <- fmt.Errorf("join: %d %s", status, answer)
				return
			}
			joined <- nil
		}()
	}
	for range others {
		if err := <-joined; err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range append(others, first) {
		m.awaitManagers(3)
		if _, body := m.call("GET", "/secrets", ""); !strings.Contains(body, `"s1"`) {
			t.Errorf("the secrets are %s", body)
		}
	}
}

func (m *machine) joinBody(manager *machine, addr string) string {
	m.t.Helper()
	var s swarm.Swarm
	manager.must("GET", "/swarm", "", &s)
	return fmt.Sprintf(`{"RemoteAddrs":[%q],"JoinToken":%q,"ListenAddr":%q}`, addr, s.JoinTokens.Manager, threePorts(m.t))
}

func (m *machine) joinAsManager(manager *machine, addr string) {
	m.t.Helper()
	m.must("POST", "/swarm/join", m.joinBody(manager, addr), nil)
}

// awaitManagers waits until the machine, a manager, sees that many managers, all there and one leading.
func (m *machine) awaitManagers(want int) {
	m.t.Helper()
	m.await(fmt.Sprintf("%d managers, one of them leading", want), func() bool {
		status, body := m.call("GET", "/nodes", "")
		return status == 200 && strings.Count(body, `"ManagerStatus"`) == want && strings.Count(body, `"Reachability":"reachable"`) == want &&
			strings.Count(body, `"Leader":true`) == 1
	})
}

// awaitRole waits until the machine is a worker or a manager itself.
func (m *machine) awaitRole(role string) {
	m.t.Helper()
	m.await("the node to be a "+role, func() bool {
		s := m.state()
		return strings.Contains(s, `"active"`) && strings.Contains(s, `"ControlAvailable":true`) == (role == "manager")
	})
}

// setRole changes the machine's role through a manager.
func (m *machine) setRole(manager *machine, role swarm.NodeRole) {
	m.t.Helper()
	manager.await("the role to be changed", func() bool {
		status, body := m.trySetRole(manager, role)
		if status != 200 && !strings.Contains(body, "out of sequence") {
			m.t.Fatalf("change the role: %d %s", status, body)
		}
		return status == 200
	})
}

func (m *machine) trySetRole(manager *machine, role swarm.NodeRole) (int, string) {
	m.t.Helper()
	_, id, _ := strings.Cut(m.state(), `"NodeID":"`)
	id, _, _ = strings.Cut(id, `"`)
	var n swarm.Node
	manager.must("GET", "/nodes/"+id, "", &n)
	n.Spec.Role = role
	return manager.call("POST", fmt.Sprintf("/nodes/%s/update?version=%d", id, n.Version.Index), encoded(m.t, n.Spec))
}
