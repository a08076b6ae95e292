package daemon

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// copied is how long the state's copies take to form after a manager has joined, on a busy machine: until then the loss of one of three
// can leave the stream without a leader. Nothing outside of the bus tells when they have.
const copied = 5 * time.Second

// A manager that hangs is as good as lost, and as good as before when it goes on. One of three is lost for good here, then the one that leads
// hangs: nothing can be written until it is back, and then it can at once, through each of the two.
func TestAManagerThatHangsComesBack(t *testing.T) {
	first, second, third := newProcess(t), newProcess(t), newProcess(t)
	addr := first.initAt()
	second.joinAsManager(first, addr)
	third.joinAsManager(first, addr)
	for _, m := range []*machine{first, second, third} {
		m.awaitManagers(3)
	}
	switch { // on a busy machine the first may not lead any more
	case second.leads(third):
		first, second = second, first
	case third.leads(second):
		first, third = third, first
	}
	time.Sleep(copied)
	first.signal(syscall.SIGKILL)
	second.await("a write without the lost one", func() bool { return second.writes("c1") })
	second.await("no new task for the leader that is lost, long before its node is down", func() bool {
		_, body := second.call("GET", "/nodes", "")
		return strings.Count(body, `"State":"unknown"`) == 1 && strings.Count(body, `"State":"ready"`) == 2
	})
	var left, hangs *machine
	second.await("one of the two to lead", func() bool {
		left, hangs = second, third
		if third.leads(second) {
			return true
		}
		left, hangs = third, second
		return second.leads(second)
	})
	hangs.signal(syscall.SIGSTOP)
	left.await("the other to be missed", func() bool {
		_, body := left.call("GET", "/nodes", "")
		return strings.Count(body, `"Reachability":"unreachable"`) == 2
	})
	if left.writes("c2") {
		t.Error("one of three managers writes")
	}
	hangs.signal(syscall.SIGCONT)
	for i, m := range []*machine{left, hangs} {
		m.await("writes", func() bool { return m.writes([]string{"c3", "c4"}[i]) })
		m.await("one that leads", func() bool {
			_, body := m.call("GET", "/nodes", "")
			return strings.Count(body, `"Leader":true`) == 1
		})
	}
}

// writes says whether a config is written, by this try or one before it.
func (m *machine) writes(name string) bool {
	m.t.Helper()
	status, body := m.call("POST", "/configs/create", `{"Name":"`+name+`","Data":"YQ=="}`)
	if status != 201 && status != 409 && !strings.Contains(body, "does not have a leader") {
		m.t.Fatalf("write: %d %s", status, body)
	}
	return status != 503
}

// leads says whether this manager leads, as another sees it.
func (m *machine) leads(seen *machine) bool {
	m.t.Helper()
	_, id, _ := strings.Cut(m.state(), `"NodeID":"`)
	id, _, _ = strings.Cut(id, `"`)
	_, body := seen.call("GET", "/nodes/"+id, "")
	return strings.Contains(body, `"Leader":true`)
}
