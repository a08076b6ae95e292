package daemon

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"

	"orch/internal/store"
)

// TestCallsGoToTheNodeOfTheTask: there are two tasks, one here and one on n2; who answers says so.
func TestCallsGoToTheNodeOfTheTask(t *testing.T) {
	s := store.New(store.NewMemLog())
	go s.Run(t.Context())
	<-s.Ready()
	err := s.Update(t.Context(), func(tx *store.Tx) error {
		for id, node := range map[string]string{"t1": "n1", "t2": "n2"} {
			task := &store.Task{}
			task.ID, task.NodeID = id, node
			task.Status.ContainerStatus = &swarm.ContainerStatus{ContainerID: fmt.Sprintf("%sabcdef0123456789", node[1:])}
			tx.Put(task)
			n := &store.Node{}
			n.ID = node
			tx.Put(n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	says := func(who string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "POST" && who == "n2" && r.URL.Path == "/v1.41/containers/2abcdef01234/exec" {
				io.WriteString(w, `{"Id":"e2"}`)
				return
			}
			io.WriteString(w, who)
		})
	}
	e := &elsewhere{self: "n1", through: says("dockerd"), here: says("n1"), view: s.View, over: func(node string) http.Handler { return says(node) },
		nodes: map[string]http.Handler{}, execs: map[string]string{}}
	r := mux.NewRouter()
	e.register(r)
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/v1.41/containers/1abcdef01234/json", "dockerd"},
		{"GET", "/containers/2abcdef0/json", "dockerd"}, // too short to be looked for on other nodes
		{"GET", "/containers/2abcdef01234/stats", "n2"},
		{"GET", "/containers/web.1.t2/top", "n2"},
		{"GET", "/containers/web.1.t3/top", "dockerd"},
		{"POST", "/exec/e2/start", "dockerd"},
		{"POST", "/v1.41/containers/2abcdef01234/exec", `{"Id":"e2"}`},
		{"POST", "/exec/e2/start", "n2"},
		{"GET", "/exec/e2/json", "n2"},
		{"POST", "/tasks/t1/forward?port=1", "n1"},
		{"POST", "/tasks/t2/forward?port=1", "n2"},
		{"POST", "/tasks/t3/forward?port=1", `{"message":"task t3 not found"}` + "\n"},
		{"GET", "/nodes/n2/usage", "n2"},
		{"GET", "/nodes/n3/usage", `{"message":"node n3 not found"}` + "\n"},
	} {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if d := cmp.Diff(c.want, w.Body.String()); d != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.method, c.path, d)
		}
	}
}

func TestTheMachineIsMeasured(t *testing.T) {
	if c := wholeMachine("/proc"); c.CPU == 0 || c.Memory == 0 || c.Memory >= c.Limit {
		t.Errorf("measured %+v", c)
	}
	if c := wholeMachine(t.TempDir()); c.CPU != 0 || c.Limit != 0 {
		t.Errorf("measured %+v where there is nothing", c)
	}
}
