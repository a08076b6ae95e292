package daemon

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
)

const lockedText = `Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to unlock it.`

func TestALockedManagerWaitsForItsKey(t *testing.T) {
	m := newMachine(t)
	m.init(`,"AutoLockManagers":true`)
	key := m.unlockKey()
	m.must("POST", "/secrets/create", `{"Name":"s1","Data":"YQ=="}`, nil)
	m.awaitLock(true)

	m.restart()
	if s := m.state(); !strings.Contains(s, `"LocalNodeState":"locked"`) {
		t.Errorf("after a restart: %s", s)
	}
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/services", ""}, {"GET", "/swarm", ""}, {"GET", "/swarm/unlockkey", ""}, {"POST", "/secrets/create", "{}"}, {"POST", "/swarm/leave", ""},
	} {
		if status, body := m.call(c.method, c.path, c.body); status != 503 || !strings.Contains(body, lockedText) {
			t.Errorf("%s %s while locked: %d %s", c.method, c.path, status, body)
		}
	}
	for _, wrong := range []string{"", "SWMKEY-1-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", key[:len(key)-1], "x" + key} {
		status, body := m.unlock(wrong)
		if status != 401 || !strings.Contains(body, "swarm could not be unlocked: invalid key provided") {
			t.Errorf("unlock with %q: %d %s", wrong, status, body)
		}
	}
	if status, body := m.unlock(key); status != 200 {
		t.Fatalf("unlock: %d %s", status, body)
	}
	if _, body := m.call("GET", "/secrets", ""); !strings.Contains(body, `"s1"`) {
		t.Errorf("unlocked, and the secrets are %s", body)
	}
	if status, _ := m.unlock(key); status != 409 {
		t.Errorf("unlock what is not locked: %d", status)
	}
}

func TestTheUnlockKeyIsRotatedAndGivenUp(t *testing.T) {
	m := newMachine(t)
	m.init(`,"AutoLockManagers":true`)
	old := m.unlockKey()
	m.awaitLock(true)
	before := m.lockFile()
	m.updateSwarm("&rotateManagerUnlockKey=true", func(*swarm.Spec) {})
	if m.unlockKey() == old {
		t.Fatal("the key is the old one")
	}
	m.await("the file to be sealed again", func() bool { return !bytes.Equal(m.lockFile(), before) })
	m.restart()
	if status, _ := m.unlock(old); status != 401 {
		t.Errorf("the old key: %d", status)
	}
	// Nobody but the test has the new one: as a user, it was noted before the restart.
	m.must("POST", "/swarm/leave?force=1", "", nil)
	if _, err := os.Stat(filepath.Join(m.dataDir(), clusterDir)); !os.IsNotExist(err) {
		t.Errorf("left, and the directory is there: %v", err)
	}
	m.init("")
	m.restart()
	if s := m.state(); !strings.Contains(s, `"active"`) {
		t.Errorf("without autolock: %s", s)
	}
	m.updateSwarm("", func(s *swarm.Spec) { s.EncryptionConfig.AutoLockManagers = true })
	m.awaitLock(true)
	m.updateSwarm("", func(s *swarm.Spec) { s.EncryptionConfig.AutoLockManagers = false })
	m.awaitLock(false)
	m.restart()
	if s := m.state(); !strings.Contains(s, `"active"`) {
		t.Errorf("after autolock was turned off: %s", s)
	}
}

// What is on a locked manager's disk is worth nothing without the key, and what it
// logs never holds one.
func TestKeysAreNeitherOnDiskNorInLogs(t *testing.T) {
	m := newMachine(t)
	m.init(`,"AutoLockManagers":true`)
	m.awaitLock(true)
	const secret = "a-secret-nobody-may-see"
	m.must("POST", "/secrets/create", `{"Name":"s1","Data":"YS1zZWNyZXQtbm9ib2R5LW1heS1zZWU="}`, nil)
	m.must("POST", "/configs/create", `{"Name":"c1","Data":"YS1jb25maWctb24tZGlzaw=="}`, nil)
	var s swarm.Swarm
	m.must("GET", "/swarm", "", &s)
	m.updateSwarm("&rotateWorkerToken=true&rotateManagerToken=true", func(*swarm.Spec) {})
	var after swarm.Swarm
	m.must("GET", "/swarm", "", &after)
	m.call("POST", "/swarm/join", fmt.Sprintf(`{"RemoteAddrs":["127.0.0.1:1"],"JoinToken":%q}`, s.JoinTokens.Worker))
	forbidden := map[string]string{
		"the secret": secret, "the unlock key": m.unlockKey(),
		"a worker token": s.JoinTokens.Worker[60:], "a manager token": s.JoinTokens.Manager[60:],
		"the new worker token": after.JoinTokens.Worker[60:], "the new manager token": after.JoinTokens.Manager[60:],
		"a private key": "PRIVATE KEY",
	}
	m.restart()
	m.unlock(forbidden["the unlock key"])
	m.unlock("SWMKEY-1-" + forbidden["the unlock key"][9:30])
	m.stop()
	for what, text := range forbidden {
		if strings.Contains(m.log.String(), text) {
			t.Errorf("%s is in the log", what)
		}
	}
	err := filepath.WalkDir(m.dataDir(), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		for what, text := range forbidden {
			if bytes.Contains(content, []byte(text)) {
				t.Errorf("%s is in %s", what, path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (m *machine) unlockKey() string {
	m.t.Helper()
	var r swarm.UnlockKeyResponse
	m.must("GET", "/swarm/unlockkey", "", &r)
	if !strings.HasPrefix(r.UnlockKey, "SWMKEY-1-") {
		m.t.Fatalf("unlock key %q", r.UnlockKey)
	}
	return r.UnlockKey
}

func (m *machine) unlock(key string) (int, string) {
	return m.call("POST", "/swarm/unlock", fmt.Sprintf(`{"UnlockKey":%q}`, key))
}

func (m *machine) updateSwarm(query string, change func(*swarm.Spec)) {
	m.t.Helper()
	if status, answer := m.tryUpdate(query, change); status != 200 {
		m.t.Fatalf("update the cluster: %d %s", status, answer)
	}
}

// tryUpdate changes the cluster's spec, again if the leader was faster, which has a first subnet to give away meanwhile.
func (m *machine) tryUpdate(query string, change func(*swarm.Spec)) (status int, answer string) {
	m.t.Helper()
	m.await("the cluster to be changed", func() bool {
		var s swarm.Swarm
		m.must("GET", "/swarm", "", &s)
		change(&s.Spec)
		status, answer = m.call("POST", fmt.Sprintf("/swarm/update?version=%d%s", s.Version.Index, query), encoded(m.t, s.Spec))
		return !strings.Contains(answer, "out of sequence")
	})
	return status, answer
}

func (m *machine) lockFile() []byte {
	content, err := os.ReadFile(filepath.Join(m.dataDir(), clusterDir, lockFile))
	if err != nil {
		m.t.Fatal(err)
	}
	return content
}

// awaitLock waits until the manager has done on its disk what the state asks for.
func (m *machine) awaitLock(on bool) {
	m.t.Helper()
	m.await("the lock", func() bool { return bytes.HasPrefix(m.lockFile(), []byte("orch sealed")) == on })
}

// await polls what there is no event for from outside a daemon.
func (m *machine) await(what string, done func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("waited in vain for %s; the log:\n%s", what, m.log)
		}
	}
}
