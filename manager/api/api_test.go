package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"github.com/gorilla/mux"

	"orch/internal/bus"
	"orch/internal/store"
)

// rig is the API on a store in memory, beside a dockerd that has one network.
type rig struct {
	store  *store.Store
	router *mux.Router
}

func newRig(t testing.TB) *rig {
	s := store.New(store.NewMemLog())
	go s.Run(t.Context())
	<-s.Ready()
	a := New(Config{
		Store: s, NodeID: "n1", Log: slog.New(slog.DiscardHandler),
		Peer:       func(node string) bus.Standing { return bus.Standing{Reachable: true, Leader: node == "n1"} },
		SealSecret: func(_ string, data []byte) []byte { return append([]byte("sealed "), data...) },
		OpenSecret: func(s *store.Secret) ([]byte, error) { return bytes.TrimPrefix(s.Sealed, []byte("sealed ")), nil },
		SealAuth:   func(_, auth string) []byte { return []byte("sealed " + auth) },
		SealUnlock: func(key string) []byte { return []byte("sealed " + key) },
		OpenUnlock: func(sealed []byte) (string, error) { return strings.TrimPrefix(string(sealed), "sealed "), nil },
		Through: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/networks"):
				io.WriteString(w, `[{"Name":"bridge","Id":"local","Labels":{}},{"Name":"b","Id":"x","Labels":{"orch.network.id":"o"}}]`)
			case strings.HasSuffix(r.URL.Path, "/info"):
				io.WriteString(w, `{"Name":"host","Swarm":{"LocalNodeState":"inactive"}}`)
			default:
				w.WriteHeader(http.StatusNotFound)
				io.WriteString(w, `{"message":"dockerd"}`)
			}
		}),
	})
	go allocate(t.Context(), s)
	router := mux.NewRouter()
	a.Register(router)
	return &rig{store: s, router: router}
}

// allocate does of the leader's work what the API waits for.
func allocate(ctx context.Context, s *store.Store) {
	watch, _ := s.Watch(store.KindNetwork)
	defer watch.Close()
	for {
		select {
		case <-watch.C():
			watch.Take()
			_ = s.Update(ctx, func(tx *store.Tx) error { // fails only once the test is over
				for _, n := range tx.Networks(store.All()) {
					if n.DriverState.Name == "" {
						given := *n
						given.DriverState.Name = "overlay"
						tx.Put(&given)
					}
				}
				return nil
			})
		case <-ctx.Done():
			return
		}
	}
}

func (r *rig) call(method, path, body string) (int, string) {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	w := httptest.NewRecorder()
	r.router.ServeHTTP(w, req)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func (r *rig) create(t testing.TB, path, body string) string {
	t.Helper()
	status, answer := r.call("POST", path, body)
	var created struct{ ID string }
	if err := json.Unmarshal([]byte(answer), &created); err != nil || status != http.StatusCreated {
		t.Fatalf("POST %s %s: %d %s", path, body, status, answer)
	}
	return created.ID
}

const web = `{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"web:1"}},"EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080}]}}`

// TestRefusals: status and text are Swarm's.
func TestRefusals(t *testing.T) {
	r := newRig(t)
	if status, answer := r.call("POST", "/networks/create", `{"Name":"ingress","Driver":"overlay","Ingress":true}`); status != http.StatusCreated {
		t.Fatal(status, answer)
	}
	id := r.create(t, "/v1.41/services/create", web)
	r.create(t, "/secrets/create", `{"Name":"s1","Data":"YQ=="}`)
	tests := []struct {
		method, path, body string
		status             int
		text               string
	}{
		{"GET", "/v1.99/services", "", 400, "client version 1.99 is too new. Maximum supported API version is 1.51"},
		{"GET", "/services/nope", "", 404, "service nope not found"},
		{"GET", "/nodes/nope", "", 404, "node nope not found"},
		{"GET", "/services?filters={\"bad\":{\"x\":true}}", "", 400, "invalid filter 'bad'"},
		{"GET", "/tasks?filters={\"service\":[\"nope\"]}", "", 404, "service nope not found"},
		{"POST", "/services/create", `{`, 400, "invalid JSON: unexpected EOF"},
		{"POST", "/services/create", `{}`, 400, "mismatched Runtime and *Spec fields"},
		{"POST", "/services/create", web, 400, "rpc error: code = InvalidArgument desc = port '8080' is already in use by service 'web' (" + id + ") as an ingress port"},
		{"POST", "/services/create", `{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"a"}}}`, 409, "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already exists"},
		{"POST", "/services/create", `{"Name":"a.b","TaskTemplate":{"ContainerSpec":{"Image":"a"}}}`, 400, "rpc error: code = InvalidArgument desc = name must be valid as a DNS name component"},
		{"POST", "/services/create", `{"Name":"a","TaskTemplate":{"ContainerSpec":{"Image":"a"},"Placement":{"Constraints":["x"]}}}`, 500, "rpc error: code = Unknown desc = constraint expected one operator from ==, !="},
		{"POST", "/services/create", `{"Name":"a","TaskTemplate":{"ContainerSpec":{"Image":"a"},"Resources":{"Limits":{"NanoCPUs":100}}}}`, 400, "rpc error: code = InvalidArgument desc = invalid cpu value 1e-07: Must be at least 0.001"},
		{"POST", "/services/create", `{"Name":"a","TaskTemplate":{"ContainerSpec":{"Image":"a"},"Networks":[{"Target":"no"}]}}`, 404, "network no not found"},
		{"POST", "/services/web/update", web, 400, `invalid service version '': strconv.ParseUint: parsing "": invalid syntax`},
		{"POST", "/services/web/update?version=999", web, 500, "rpc error: code = Unknown desc = update out of sequence"},
		{"POST", "/secrets/create", `{"Name":"s1","Data":"YQ=="}`, 409, "rpc error: code = AlreadyExists desc = secret s1 already exists"},
		{"POST", "/secrets/create", `{"Name":"s2"}`, 400, "rpc error: code = InvalidArgument desc = secret data must be larger than 0 and less than 512000 bytes"},
		{"POST", "/services/create", strings.Repeat(" ", maxBody+1), 400, "the request's body is larger than 4 MiB"},
		{"GET", "/services/web/logs", "", 400, "Bad parameters: you must choose at least one stream"},
	}
	for _, tt := range tests {
		status, answer := r.call(tt.method, strings.ReplaceAll(tt.path, `"`, "%22"), tt.body)
		var e struct{ Message string }
		_ = json.Unmarshal([]byte(answer), &e)
		if status != tt.status || e.Message != tt.text {
			t.Errorf("%s %s %.80s\n got %d %s\nwant %d %s", tt.method, tt.path, tt.body, status, e.Message, tt.status, tt.text)
		}
	}
}

// TestServiceRoundTrip: an update keeps the previous spec, a rollback returns to it.
func TestServiceRoundTrip(t *testing.T) {
	r := newRig(t)
	r.call("POST", "/networks/create", `{"Name":"ingress","Driver":"overlay","Ingress":true}`)
	id := r.create(t, "/services/create", web)
	read := func() swarm.Service {
		t.Helper()
		var s swarm.Service
		_, answer := r.call("GET", "/services/web", "")
		if err := json.Unmarshal([]byte(answer), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := read()
	if s.ID != id || *s.Spec.Mode.Replicated.Replicas != 1 || s.Spec.TaskTemplate.Runtime != "container" || s.Spec.TaskTemplate.ContainerSpec.Isolation != "default" {
		t.Errorf("created: %+v", s)
	}
	if status, answer := r.call("POST", fmt.Sprintf("/services/web/update?version=%d", s.Version.Index), strings.ReplaceAll(web, "web:1", "web:2")); status != 200 || answer != `{"Warnings":null}` {
		t.Fatal(status, answer)
	}
	s = read()
	if s.Spec.TaskTemplate.ContainerSpec.Image != "web:2" || s.PreviousSpec == nil || s.PreviousSpec.TaskTemplate.ContainerSpec.Image != "web:1" {
		t.Errorf("updated: %+v", s)
	}
	r.call("POST", fmt.Sprintf("/services/web/update?rollback=previous&version=%d", s.Version.Index), web)
	s = read()
	if s.Spec.TaskTemplate.ContainerSpec.Image != "web:1" || s.UpdateStatus == nil || s.UpdateStatus.State != swarm.UpdateStateRollbackStarted {
		t.Errorf("rolled back: %+v", s)
	}
}

// TestMergedViews: dockerd's answers with the cluster's part put in.
func TestMergedViews(t *testing.T) {
	r := newRig(t)
	r.call("POST", "/networks/create", `{"Name":"app","Driver":"overlay"}`)
	_, answer := r.call("GET", "/networks", "")
	var list []struct{ Name string }
	if err := json.Unmarshal([]byte(answer), &list); err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, n := range list {
		names = append(names, n.Name)
	}
	if !slices.Equal(names, []string{"bridge", "app"}) {
		t.Errorf("networks: %v", names)
	}
	if _, answer := r.call("GET", "/info", ""); !strings.Contains(answer, `"Name":"host"`) || !strings.Contains(answer, `"LocalNodeState":"active"`) {
		t.Errorf("info: %s", answer)
	}
	for _, path := range []string{"/services", "/tasks", "/nodes", "/secrets", "/configs", "/services?status=true"} {
		if _, answer := r.call("GET", path, ""); answer != "[]" {
			t.Errorf("%s: %s, want []", path, answer)
		}
	}
}

func FuzzServiceCreate(f *testing.F) {
	f.Add(web)
	f.Add(`{"Name":"a","Mode":{"ReplicatedJob":{}},"TaskTemplate":{"ContainerSpec":{"Image":"a","Secrets":[null],"Configs":[{}]}}}`)
	r := newRig(f)
	f.Fuzz(func(t *testing.T, body string) {
		if status, _ := r.call("POST", "/services/create", body); status == http.StatusCreated {
			if status, answer := r.call("GET", "/services", ""); status != 200 {
				t.Errorf("stored what cannot be read: %s", answer)
			}
			for _, s := range r.store.View().Services(store.All()) {
				r.call("DELETE", "/services/"+s.ID, "")
			}
		}
	})
}

func FuzzFilters(f *testing.F) {
	f.Add(`{"name":{"a":true}}`)
	f.Add(`{"desired-state":["running"],"_up-to-date":["true"]}`)
	r := newRig(f)
	f.Fuzz(func(t *testing.T, raw string) {
		for _, path := range []string{"/tasks", "/services", "/nodes", "/networks"} {
			req := httptest.NewRequest("GET", path, nil)
			req.URL.RawQuery = "filters=" + raw
			r.router.ServeHTTP(httptest.NewRecorder(), req)
		}
	})
}

func BenchmarkLists(b *testing.B) {
	r := newRig(b)
	err := r.store.Update(b.Context(), func(tx *store.Tx) error {
		for i := range 1000 {
			s := &store.Service{SpecVersion: 1}
			s.ID, s.Spec.Name = fmt.Sprintf("s%024d", i), fmt.Sprintf("service-%d", i)
			s.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "web:1", Env: []string{"A=1", "B=2"}}
			normalise(&s.Spec)
			tx.Put(s)
			for j := range 5 {
				t := &store.Task{SpecVersion: 1}
				t.ID, t.ServiceID, t.Slot, t.Spec = fmt.Sprintf("t%018d%06d", i, j), s.ID, j+1, s.Spec.TaskTemplate
				t.Status = swarm.TaskStatus{State: swarm.TaskStateRunning, Timestamp: time.Unix(1, 0)}
				tx.Put(t)
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range []string{"/services", "/services?status=true", "/tasks", "/services/service-7", "/tasks?filters=%7B%22_up-to-date%22:[%22true%22],%22service%22:[%22service-7%22]%7D"} {
		b.Run(path, func(b *testing.B) {
			for b.Loop() {
				if status, answer := r.call("GET", path, ""); status != 200 {
					b.Fatal(answer)
				}
			}
		})
	}
}

// TestTaskEventsAreOnlyForThoseWhoAsk: Swarm has none, and its clients must not meet them.
func TestTaskEventsAreOnlyForThoseWhoAsk(t *testing.T) {
	for filter, want := range map[string]int{`{}`: 0, `{"type":["service"]}`: 0, `{"type":["task","node"]}`: 1, `{"type":["task"],"scope":["local"]}`: 0} {
		a := New(Config{Log: slog.New(slog.DiscardHandler), Through: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
		task := &store.Task{ServiceName: "web"}
		task.ID, task.Slot, task.UpdatedAt = "t1", 1, time.Now()
		m, ok := eventOf(store.Change{Kind: store.KindTask, New: task})
		if !ok {
			t.Fatal("a task's change is no event")
		}
		a.tasks.add(m)
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/events?since=1&until=2000000000&filters="+url.QueryEscape(filter), nil)
		ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
		defer cancel()
		_ = a.streamEvents(w, r.WithContext(ctx))
		if got := strings.Count(w.Body.String(), `"web.1.t1"`); got != want {
			t.Errorf("filters %s: %d task events, want %d: %s", filter, got, want, w.Body)
		}
	}
}

func TestAFollowerThatIsTooSlowIsCutOff(t *testing.T) {
	h := newHistory(2)
	out := &lines{w: httptest.NewRecorder()}
	ended := make(chan error, 1)
	_, _, grown := h.after(0)
	go func() { ended <- clusterEvents(t.Context(), h, out, filters.NewArgs(), window{}) }()
	<-time.After(10 * time.Millisecond)
	out.mu.Lock() // the client does not read
	for range 4 {
		h.add(events.Message{})
	}
	<-grown
	<-time.After(10 * time.Millisecond)
	for range 4 {
		h.add(events.Message{})
	}
	out.mu.Unlock()
	if err := <-ended; !errors.Is(err, errMissed) {
		t.Errorf("ended with %v", err)
	}
}

// FuzzBodies: no body makes the API panic, or store what it cannot read back.
func FuzzBodies(f *testing.F) {
	paths := []string{"/services/create", "/secrets/create", "/configs/create", "/networks/create"}
	for i, body := range []string{
		web, `{"Name":"s","Data":"YQ==","Templating":{"Name":"golang"}}`, `{"Name":"c","Data":"YQ==","Labels":null}`,
		`{"Name":"n","Driver":"overlay","IPAM":{"Config":[{"Subnet":"10.1.0.0/24"}],"Options":{"a":"b"}},"Options":null}`,
	} {
		f.Add(i, body)
	}
	f.Add(0, `{"Name":"m","TaskTemplate":{"ContainerSpec":{"Image":"a","Mounts":[{"Type":"bind","BindOptions":{}}],"Env":["A={{","=",""],"Hosts":[""]},"Placement":{"Preferences":[{}]}},"EndpointSpec":{"Ports":[{}]}}`)
	f.Add(3, `{"Name":"n","Driver":"overlay","IPAM":{"Config":[{}]}}`)
	r := newRig(f)
	f.Fuzz(func(t *testing.T, where int, body string) {
		path := paths[uint(where)%uint(len(paths))]
		status, answer := r.call("POST", path, body)
		if status != http.StatusCreated {
			return
		}
		var created struct{ ID, Id string }
		if err := json.Unmarshal([]byte(answer), &created); err != nil {
			t.Fatalf("POST %s: %s", path, answer)
		}
		object := strings.TrimSuffix(path, "create") + created.ID + created.Id
		if status, answer := r.call("GET", object, ""); status != http.StatusOK {
			t.Errorf("stored what cannot be read: %d %s", status, answer)
		}
		r.call("DELETE", object, "")
	})
}

// TestABodyOfManyMegabytesIsRefused: unread, whether its length is told or not.
func TestABodyOfManyMegabytesIsRefused(t *testing.T) {
	r := newRig(t)
	for _, length := range []int64{64 << 20, -1} {
		body := io.LimitReader(spaces{}, 64<<20)
		req := httptest.NewRequest("POST", "/services/create", body)
		req.ContentLength = length
		w := httptest.NewRecorder()
		r.router.ServeHTTP(w, req)
		if left, _ := io.Copy(io.Discard, body); w.Code != http.StatusBadRequest || left < 56<<20 {
			t.Errorf("length %d: %d %s, and all but %d bytes were read", length, w.Code, w.Body, left)
		}
	}
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// TestANoIsANo: Python's clients write it with a capital.
func TestANoIsANo(t *testing.T) {
	for value, want := range map[string]bool{"": false, "0": false, "false": false, "False": false, "no": false, "none": false, "1": true, "true": true, "True": true, "x": true} {
		if got := flag(httptest.NewRequest("GET", "/?follow="+value, nil), "follow"); got != want {
			t.Errorf("follow=%s is %t", value, got)
		}
	}
}

func TestTasksAreFoundByIDs(t *testing.T) {
	r := newRig(t)
	err := r.store.Update(t.Context(), func(tx *store.Tx) error {
		for _, id := range []string{"a1", "a12", "b1"} {
			task := &store.Task{}
			task.ID, task.Spec.Runtime = id, swarm.RuntimeContainer
			tx.Put(task)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for ids, want := range map[string]string{`"a1"`: "a1 a12", `"a12","a1"`: "a1 a12", `"b","a12"`: "a12 b1", `"c"`: ""} {
		_, answer := r.call("GET", "/tasks?filters="+url.QueryEscape(`{"id":[`+ids+`]}`), "")
		var list []swarm.Task
		if err := json.Unmarshal([]byte(answer), &list); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, task := range list {
			got = append(got, task.ID)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", ids, got, want)
		}
	}
}
