package daemon

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const phrase = "correct horse battery staple"

// orch is a call of what Docker's API does not have.
func (m *machine) orch(path, phrase string, body []byte) (int, []byte) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodPost, "http://docker"+path, bytes.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set(phraseHeader, base64.StdEncoding.EncodeToString([]byte(phrase)))
	resp, err := m.client.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return resp.StatusCode, answer
}

func (m *machine) backup(phrase string) []byte {
	m.t.Helper()
	status, file := m.orch("/orch/backup", phrase, nil)
	if status != 200 {
		m.t.Fatalf("backup: %d %s", status, file)
	}
	return file
}

// A backup that was taken while the manager ran makes a cluster of another machine: its secrets
// open there, and its node is the same.
func TestABackupMakesAManagerOfAnotherMachine(t *testing.T) {
	m := newMachine(t)
	m.initAt()
	m.must("POST", "/secrets/create", `{"Name":"s1","Data":"YS1zZWNyZXQ="}`, nil)
	m.must("POST", "/configs/create", `{"Name":"config-one","Data":"YQ=="}`, nil)
	file := m.backup(phrase)
	for _, leak := range []string{"a-secret", "config-one", "PRIVATE KEY", "SWMTKN"} {
		if bytes.Contains(file, []byte(leak)) {
			t.Errorf("the file holds %q in the clear", leak)
		}
	}
	m.must("POST", "/configs/create", `{"Name":"later","Data":"YQ=="}`, nil)
	_, node := m.call("GET", "/nodes", "")
	m.stop()

	other := newMachine(t)
	altered := bytes.Clone(file)
	altered[len(altered)-1] ^= 1
	for name, c := range map[string]struct {
		file []byte
		with string
		want string
	}{
		"another passphrase": {file, "correct horse battery stable", "the backup does not open"},
		"an altered file":    {altered, phrase, "the backup does not open"},
		"half a file":        {file[:len(file)/2], phrase, "the backup does not open"},
		"no backup":          {[]byte("x"), phrase, "this is no backup of orch"},
		"nothing":            {nil, phrase, "the backup is empty"},
	} {
		if status, body := other.orch("/orch/restore", c.with, c.file); status != 400 || !bytes.Contains(body, []byte(c.want)) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, body := other.orch("/orch/restore", phrase, file); status != 200 {
		t.Fatalf("restore: %d %s", status, body)
	}
	check := func() {
		t.Helper()
		_, secrets := other.call("GET", "/secrets", "")
		_, configs := other.call("GET", "/configs", "")
		if !strings.Contains(secrets, `"s1"`) || !strings.Contains(configs, `"config-one"`) || strings.Contains(configs, "later") {
			t.Errorf("restored: %s %s", secrets, configs)
		}
	}
	check()
	id := node[strings.Index(node, `"ID":"`)+6:][:25]
	if _, nodes := other.call("GET", "/nodes", ""); !strings.Contains(nodes, id) {
		t.Errorf("the node was %s, and is %s", id, nodes)
	}
	other.awaitReady(1)
	if status, body := other.orch("/orch/restore", phrase, file); status != 503 || !bytes.Contains(body, []byte("a cluster that runs")) {
		t.Errorf("restore into a cluster that runs: %d %s", status, body)
	}
	other.restart()
	check()
}

func TestABackupNeedsAKey(t *testing.T) {
	m := newMachine(t)
	if status, body := m.orch("/orch/backup", phrase, nil); status != 503 {
		t.Errorf("outside a cluster: %d %s", status, body)
	}
	m.init(`,"AutoLockManagers":true`)
	for _, weak := range []string{"", "short"} {
		if status, body := m.orch("/orch/backup", weak, nil); status != 400 || !bytes.Contains(body, []byte("at least 8 characters")) {
			t.Errorf("passphrase %q: %d %s", weak, status, body)
		}
	}
	key := m.unlockKey()
	file := m.backup(key)
	m.must("POST", "/swarm/leave?force=1", "", nil)
	if status, body := m.orch("/orch/restore", phrase, file); status != 400 || !bytes.Contains(body, []byte("sealed with the unlock key")) {
		t.Errorf("with a passphrase: %d %s", status, body)
	}
	if status, body := m.orch("/orch/restore", key, file); status != 200 {
		t.Fatalf("with the unlock key: %d %s", status, body)
	}
	m.awaitLock(true) // autolock is part of what came back
	if strings.Contains(m.log.String(), key) || strings.Contains(m.log.String(), phrase) {
		t.Error("a passphrase is in the log")
	}
}

// A manager whose state is damaged says so, in Docker's own terms too, and goes back to its own copy.
func TestADamagedManagerSaysSoAndGoesBack(t *testing.T) {
	m := newMachine(t)
	m.initAt()
	m.must("POST", "/configs/create", `{"Name":"config-one","Data":"YQ=="}`, nil)
	m.stop()
	blocks, err := filepath.Glob(filepath.Join(m.dataDir(), clusterDir, "state", "jetstream", "ORCH", "streams", "ORCH", "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatal(blocks, err)
	}
	for _, path := range blocks {
		if err := os.Truncate(path, 100); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		m.start()
		if s := m.state(); !strings.Contains(s, `"LocalNodeState":"error"`) || !strings.Contains(s, "orch restore") {
			t.Errorf("info: %s", s)
		}
		if status, body := m.call("GET", "/services", ""); status != 503 || !strings.Contains(body, "the cluster state is damaged") {
			t.Errorf("services: %d %s", status, body)
		}
		m.stop()
	}
	m.start()
	if status, body := m.orch("/orch/restore?snapshot=1", "", nil); status != 200 {
		t.Fatalf("restore: %d %s", status, body)
	}
	if _, configs := m.call("GET", "/configs", ""); !strings.Contains(configs, `"config-one"`) {
		t.Errorf("restored: %s", configs)
	}
	if aside, _ := filepath.Glob(filepath.Join(m.dataDir(), clusterDir, "state.damaged-*")); len(aside) != 1 {
		t.Errorf("moved aside: %v", aside)
	}
	m.restart()
	m.awaitReady(1)
}
