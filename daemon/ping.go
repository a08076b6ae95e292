package daemon

import (
	"net/http"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/versions"

	"orch/manager/api"
)

// ping passes a ping on to dockerd, whose version clients go by, and puts the
// node's place in orch's cluster where dockerd tells of its own.
func (d *Daemon) ping(state func() swarm.LocalNodeState, manager bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		d.through.ServeHTTP(&pong{ResponseWriter: w, state: state(), manager: manager, heard: d.heard}, r)
	}
}

// pong corrects the headers of dockerd's answer.
type pong struct {
	http.ResponseWriter
	state   swarm.LocalNodeState
	manager bool
	heard   func(server string)
}

// WriteHeader implements http.ResponseWriter.
func (p *pong) WriteHeader(status int) {
	h := p.Header()
	p.heard(h.Get("Server"))
	if v := h.Get("Api-Version"); v != "" && versions.GreaterThan(v, api.NewestVersion) {
		h.Set("Api-Version", api.NewestVersion)
	}
	if h.Get("Swarm") != "" { // dockerd before API 1.42 does not tell
		h.Set("Swarm", p.role())
	}
	p.ResponseWriter.WriteHeader(status)
}

func (p *pong) role() string {
	if p.state != swarm.LocalNodeStateActive {
		return string(p.state)
	}
	if p.manager {
		return "active/manager"
	}
	return "active/worker"
}

// Unwrap lets http.ResponseController reach the connection.
func (p *pong) Unwrap() http.ResponseWriter { return p.ResponseWriter }
