package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

func (a *API) systemRoutes() []route {
	return []route{
		{"GET", "/info", a.info},
		{"GET", "/events", a.streamEvents},
		{"POST", "/orch/rebalance", a.rebalance},
	}
}

// info is dockerd's, with the cluster in the place of Swarm's.
func (a *API) info(w http.ResponseWriter, r *http.Request) error {
	return MergeInfo(w, r, a.Through, a.swarmInfo())
}

// MergeInfo answers with dockerd's information about itself and info in the place of its Swarm.
func MergeInfo(w http.ResponseWriter, r *http.Request, through http.Handler, info swarm.Info) error {
	answer := ask(through, r)
	if answer.status != http.StatusOK {
		answer.copy(w)
		return nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(answer.body.Bytes(), &fields); err != nil {
		return fmt.Errorf("read dockerd's /info: %w", err)
	}
	part, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("encode the swarm part of /info: %w", err)
	}
	fields["Swarm"] = part
	return encode(w, http.StatusOK, fields)
}

func (a *API) swarmInfo() swarm.Info {
	v := a.Store.View()
	info := swarm.Info{NodeID: a.NodeID, LocalNodeState: swarm.LocalNodeStateActive, ControlAvailable: true}
	if n := v.Node(a.NodeID); n != nil {
		info.NodeAddr = n.Status.Addr
	}
	for _, n := range v.Nodes(store.All()) {
		info.Nodes++
		if n.Spec.Role == swarm.NodeRoleManager {
			info.Managers++
		}
		if n.ManagerStatus != nil {
			info.RemoteManagers = append(info.RemoteManagers, swarm.Peer{NodeID: n.ID, Addr: n.ManagerStatus.Addr})
		}
	}
	if c := v.Cluster(); c != nil {
		cluster := c.ClusterInfo
		info.Cluster = &cluster
	}
	return info
}

// answer is dockerd's, kept whole.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

// ask lets the local dockerd answer a request.
func ask(through http.Handler, r *http.Request) *answer {
	a := &answer{status: http.StatusOK, header: http.Header{}}
	through.ServeHTTP(a, r)
	return a
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) { a.status = status }

func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// copy hands the answer on as it is.
func (a *answer) copy(w http.ResponseWriter) {
	for k, v := range a.header {
		w.Header()[k] = v
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes())
}
