package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
)

// fake is a small Docker API: what it is told to hold it lists, and what is written to it changes it.
type fake struct {
	// mu guards all fields below.
	mu       sync.Mutex
	services []swarm.Service
	tasks    []swarm.Task
	nodes    []swarm.Node
	// components are what the version names: orch, unless it is Docker's own swarm mode.
	components []types.ComponentVersion
	conflict   int // so many updates are refused as out of sequence
}

// serve answers on dir/api.sock until the test ends.
func (f *fake) serve(t testing.TB, dir string) (host string) {
	t.Helper()
	path := filepath.Join(dir, "api.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: f.handler(), ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return "unix://" + path
}

func (f *fake) handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41") })
	m.HandleFunc("GET /info", f.answer(func(*http.Request) (any, error) {
		return system.Info{Name: "host1", NCPU: 2, MemTotal: 4 << 30, ServerVersion: "20.10.24",
			Swarm: swarm.Info{NodeID: "node1", NodeAddr: "10.0.0.1", LocalNodeState: "active", ControlAvailable: true, Nodes: len(f.nodes), Managers: 1}}, nil
	}))
	m.HandleFunc("GET /version", f.answer(func(*http.Request) (any, error) {
		return types.Version{Version: "20.10.24", APIVersion: "1.41", Components: f.components}, nil
	}))
	m.HandleFunc("GET /nodes", f.answer(func(*http.Request) (any, error) { return f.nodes, nil }))
	m.HandleFunc("GET /nodes/{id}", f.answer(func(r *http.Request) (any, error) { n, err := f.node(r.PathValue("id")); return n, err }))
	m.HandleFunc("POST /nodes/{id}/update", f.answer(func(r *http.Request) (any, error) {
		n, err := f.node(r.PathValue("id"))
		if err != nil {
			return nil, err
		}
		return struct{}{}, json.NewDecoder(r.Body).Decode(&n.Spec)
	}))
	m.HandleFunc("GET /services", f.answer(f.listServices))
	m.HandleFunc("GET /services/{id}", f.answer(func(r *http.Request) (any, error) { s, err := f.service(r.PathValue("id")); return s, err }))
	m.HandleFunc("POST /services/{id}/update", f.answer(f.updateService))
	m.HandleFunc("DELETE /services/{id}", f.answer(f.removeService))
	m.HandleFunc("GET /services/{id}/logs", f.logs)
	m.HandleFunc("GET /tasks", f.answer(f.listTasks))
	for _, kind := range []string{"secrets", "configs", "networks"} {
		m.HandleFunc("GET /"+kind, f.answer(func(*http.Request) (any, error) { return []struct{}{}, nil }))
	}
	m.HandleFunc("GET /swarm", f.answer(func(*http.Request) (any, error) {
		return swarm.Swarm{JoinTokens: swarm.JoinTokens{Worker: "SWMTKN-1-w", Manager: "SWMTKN-1-m"}}, nil
	}))
	m.HandleFunc("/", f.answer(func(r *http.Request) (any, error) { return nil, fmt.Errorf("%s not found", r.URL.Path) }))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = strings.TrimPrefix(r.URL.Path, "/v1.41")
		m.ServeHTTP(w, r)
	})
}

var errOutOfSequence = errors.New("rpc error: code = Unknown desc = update out of sequence")

// answer makes a handler of a function: its result as JSON, or its error in Docker's form.
func (f *fake) answer(do func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		v, err := do(r)
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			status := http.StatusNotFound
			if errors.Is(err, errOutOfSequence) {
				status = http.StatusInternalServerError
			}
			w.WriteHeader(status)
			v = map[string]string{"message": err.Error()}
		}
		_ = json.NewEncoder(w).Encode(v)
	}
}

func (f *fake) node(ref string) (*swarm.Node, error) {
	for i, n := range f.nodes {
		if n.ID == ref || n.Description.Hostname == ref {
			return &f.nodes[i], nil
		}
	}
	return nil, fmt.Errorf("node %s not found", ref)
}

func (f *fake) service(ref string) (*swarm.Service, error) {
	for i, s := range f.services {
		if s.ID == ref || s.Spec.Name == ref {
			return &f.services[i], nil
		}
	}
	return nil, fmt.Errorf("service %s not found", ref)
}

func (f *fake) listServices(r *http.Request) (any, error) {
	args, err := filters.FromJSON(r.URL.Query().Get("filters"))
	out := []swarm.Service{}
	for _, s := range f.services {
		if args.MatchKVList("label", s.Spec.Labels) {
			out = append(out, s)
		}
	}
	return out, err
}

func (f *fake) updateService(r *http.Request) (any, error) {
	s, err := f.service(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if f.conflict > 0 {
		f.conflict--
		return nil, errOutOfSequence
	}
	if r.URL.Query().Get("rollback") == "previous" {
		return struct{}{}, nil
	}
	return struct{}{}, json.NewDecoder(r.Body).Decode(&s.Spec)
}

func (f *fake) removeService(r *http.Request) (any, error) {
	for i, s := range f.services {
		if s.ID == r.PathValue("id") || s.Spec.Name == r.PathValue("id") {
			f.services = append(f.services[:i:i], f.services[i+1:]...)
			return struct{}{}, nil
		}
	}
	return nil, fmt.Errorf("service %s not found", r.PathValue("id"))
}

func (f *fake) listTasks(r *http.Request) (any, error) {
	args, err := filters.FromJSON(r.URL.Query().Get("filters"))
	out := []swarm.Task{}
	for _, t := range f.tasks {
		if s, _ := f.service(t.ServiceID); args.ExactMatch("service", t.ServiceID) || s != nil && args.ExactMatch("service", s.Spec.Name) {
			out = append(out, t)
		}
	}
	return out, err
}

// logs gives each task of a service two lines, a second apart, in frames.
func (f *fake) logs(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, t := range f.tasks {
		if t.ServiceID != r.PathValue("id") || ended(t.Status.State) {
			continue
		}
		for n := range 2 {
			at := time.Date(2026, 1, 2, 3, 4, 10*n+i, 0, time.UTC)
			writeFrame(w, 1, fmt.Sprintf("%s com.docker.swarm.node.id=%s,com.docker.swarm.task.id=%s line %d\n", at.Format(time.RFC3339Nano), t.NodeID, t.ID, n+1))
		}
	}
}

func writeFrame(w io.Writer, stream byte, s string) {
	head := [8]byte{stream}
	binary.BigEndian.PutUint32(head[4:], uint32(len(s)))
	_, _ = w.Write(append(head[:], s...))
}

// stocked is a cluster with a healthy service, one that fails again and again, and a global one.
func stocked() *fake {
	ago := func(d time.Duration) swarm.Meta { return swarm.Meta{CreatedAt: time.Now().Add(-d)} }
	service := func(id, stack, name string, mode swarm.ServiceMode, running, desired uint64) swarm.Service {
		s := swarm.Service{ID: id, ServiceStatus: &swarm.ServiceStatus{RunningTasks: running, DesiredTasks: desired}}
		s.Spec.Name, s.Spec.Mode = name, mode
		s.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "registry.example.com/" + name + ":1@sha256:0123"}
		if stack != "" {
			s.Spec.Labels = map[string]string{stackLabel: stack}
		}
		return s
	}
	task := func(id, service, node string, slot int, state, desired swarm.TaskState, created time.Duration, problem string) swarm.Task {
		return swarm.Task{ID: id, ServiceID: service, NodeID: node, Slot: slot, DesiredState: desired, Meta: ago(created),
			Status: swarm.TaskStatus{State: state, Timestamp: time.Now().Add(-created), Err: problem}, Spec: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "img:1"}}}
	}
	two := uint64(2)
	web := service("svcweb", "shop", "shop_web", swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &two}}, 2, 2)
	web.Endpoint.Ports = []swarm.PortConfig{{Protocol: "tcp", PublishedPort: 8081, TargetPort: 81}, {Protocol: "tcp", PublishedPort: 8080, TargetPort: 80}, {Protocol: "udp", PublishedPort: 53, TargetPort: 53}}
	broken := service("svcbroken", "shop", "shop_broken", swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &two}}, 0, 1)
	broken.UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStatePaused}
	return &fake{
		components: []types.ComponentVersion{{Name: "orch"}},
		services:   []swarm.Service{web, broken, service("svcagent", "", "agent", swarm.ServiceMode{Global: &swarm.GlobalService{}}, 1, 1)},
		tasks: []swarm.Task{
			task("task-web-1", "svcweb", "node1", 1, "running", "running", 2*time.Hour, ""),
			task("task-web-2", "svcweb", "node2", 2, "running", "running", 2*time.Hour, ""),
			task("task-web-0", "svcweb", "node2", 2, "shutdown", "shutdown", 5*time.Hour, ""),
			task("task-broken-2", "svcbroken", "node2", 1, "starting", "running", 150*time.Second, ""),
			task("task-broken-1", "svcbroken", "node2", 1, "failed", "shutdown", 200*time.Second, "task: non-zero exit (3)"),
			task("task-agent", "svcagent", "node1", 0, "running", "running", 72*time.Hour, ""),
		},
		nodes: []swarm.Node{
			{ID: "node1", Description: swarm.NodeDescription{Hostname: "host1", Engine: swarm.EngineDescription{EngineVersion: "20.10.24"}}, Status: swarm.NodeStatus{State: "ready", Addr: "10.0.0.1"},
				Spec: swarm.NodeSpec{Role: "manager", Availability: "active"}, ManagerStatus: &swarm.ManagerStatus{Leader: true, Reachability: "reachable", Addr: "10.0.0.1:2377"}},
			{ID: "node2", Description: swarm.NodeDescription{Hostname: "host2", Engine: swarm.EngineDescription{EngineVersion: "20.10.24"}}, Status: swarm.NodeStatus{State: "down", Addr: "10.0.0.2", Message: "heartbeat failure"},
				Spec: swarm.NodeSpec{Role: "worker", Availability: "drain"}},
		},
	}
}
