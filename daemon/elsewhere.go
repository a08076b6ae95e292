package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/gorilla/mux"

	"orch/daemon/passthrough"
	"orch/internal/store"
	"orch/manager"
)

// keptExecs is how many commands in containers of other nodes are remembered; a client starts one right after it has created it.
const keptExecs = 1024

// shortestID is how much of a container's ID must be given to reach it on another node: less is too likely one of here.
const shortestID = 12

// elsewhere answers calls about tasks and containers of other nodes by passing them on to there. To a client it is as if the containers
// of all tasks of the cluster were here: `docker exec`, `docker top`, `docker stats` reach them by ID or by the task's name.
type elsewhere struct {
	self    string // node
	here    http.Handler
	through http.Handler // the local dockerd
	view    func() *store.View
	over    func(node string) http.Handler

	// mu guards what follows.
	mu    sync.Mutex
	nodes map[string]http.Handler // those that were asked for
	execs map[string]string       // node by ID of the command
	order []string                // its keys, oldest first
}

// elsewhereOf makes the routes' handler for a manager.
func (d *Daemon) elsewhereOf(n *node, m *manager.Manager) *elsewhere {
	return &elsewhere{
		self: n.m.Load().NodeID, through: d.through, view: m.Store().View,
		nodes: map[string]http.Handler{}, execs: map[string]string{},
		here: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.nodeHandler(n.agent).ServeHTTP(w, r) }),
		over: func(node string) http.Handler {
			return passthrough.Over("node "+node, func(ctx context.Context) (net.Conn, error) {
				return m.Bus().Manager().Dial(ctx, node)
			}, d.log)
		},
	}
}

// register adds the routes, before those of the API that would take some of them.
func (e *elsewhere) register(r *mux.Router) {
	for _, prefix := range []string{"", "/v{version:[0-9.]+}"} {
		r.Path(prefix + "/containers/{id}/{what}").HandlerFunc(e.container)
		r.Path(prefix + "/exec/{id}/{what}").HandlerFunc(e.exec)
		r.Path(prefix + "/tasks/{id}/forward").Methods(http.MethodPost).HandlerFunc(e.task)
		r.Path(prefix + "/nodes/{id}/usage").Methods(http.MethodGet).HandlerFunc(e.usage)
	}
}

func (e *elsewhere) at(node string) http.Handler {
	if node == e.self {
		return e.here
	}
	return e.to(node)
}

// to is the way to another node; one per node, so that its connections are used again.
func (e *elsewhere) to(node string) http.Handler {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.nodes[node] == nil {
		e.nodes[node] = e.over(node)
	}
	return e.nodes[node]
}

func (e *elsewhere) task(w http.ResponseWriter, r *http.Request) {
	t := e.view().Task(mux.Vars(r)["id"])
	if t == nil || t.NodeID == "" {
		deny(w, http.StatusNotFound, fmt.Errorf("task %s not found", mux.Vars(r)["id"]))
		return
	}
	e.at(t.NodeID).ServeHTTP(w, r)
}

func (e *elsewhere) usage(w http.ResponseWriter, r *http.Request) {
	if e.view().Node(mux.Vars(r)["id"]) == nil {
		deny(w, http.StatusNotFound, fmt.Errorf("node %s not found", mux.Vars(r)["id"]))
		return
	}
	e.at(mux.Vars(r)["id"]).ServeHTTP(w, r)
}

func (e *elsewhere) container(w http.ResponseWriter, r *http.Request) {
	id, what := mux.Vars(r)["id"], mux.Vars(r)["what"]
	t := e.taskOf(id)
	if t == nil || t.NodeID == e.self {
		e.through.ServeHTTP(w, r)
		return
	}
	// A name is the container's on its node as well; only managers know tasks by it.
	if what != "exec" || r.Method != http.MethodPost {
		e.to(t.NodeID).ServeHTTP(w, r)
		return
	}
	answer := &whole{ResponseWriter: w}
	e.to(t.NodeID).ServeHTTP(answer, r)
	var created struct{ ID string }
	if json.Unmarshal(answer.body.Bytes(), &created) == nil && created.ID != "" {
		e.remember(created.ID, t.NodeID)
	}
	_, _ = io.Copy(w, &answer.body) // after it is remembered: the client goes on at once
}

func (e *elsewhere) exec(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	node, remote := e.execs[mux.Vars(r)["id"]]
	e.mu.Unlock()
	if !remote {
		e.through.ServeHTTP(w, r)
		return
	}
	e.to(node).ServeHTTP(w, r)
}

func (e *elsewhere) remember(exec, node string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.order) == keptExecs {
		delete(e.execs, e.order[0])
		e.order = e.order[1:]
	}
	e.execs[exec] = node
	e.order = append(e.order, exec)
}

// taskOf finds the task of a container by the container's ID, the beginning of it, or its name, which ends in the task's ID.
func (e *elsewhere) taskOf(ref string) *store.Task {
	v := e.view()
	if i := strings.LastIndexByte(ref, '.'); i >= 0 {
		return v.Task(ref[i+1:])
	}
	if len(ref) < shortestID || strings.Trim(ref, "0123456789abcdef") != "" {
		return nil
	}
	for _, t := range v.Tasks(store.All()) {
		if c := t.Status.ContainerStatus; c != nil && strings.HasPrefix(c.ContainerID, ref) {
			return t
		}
	}
	return nil
}

// whole holds an answer's body back.
type whole struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (w *whole) Write(p []byte) (int, error) { return w.body.Write(p) }

// Unwrap is for http.ResponseController; flushing is of no use before the body is there.
func (w *whole) Unwrap() http.ResponseWriter { return w.ResponseWriter }
