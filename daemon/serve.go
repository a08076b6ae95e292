package daemon

import (
	"net/http"

	"github.com/docker/docker/api/types/swarm"
	"github.com/gorilla/mux"

	"orch/manager"
	"orch/manager/api"
)

// outsideHandler answers while the node is in no cluster.
func (d *Daemon) outsideHandler() http.Handler {
	state := func() swarm.LocalNodeState { return swarm.LocalNodeStateInactive }
	r := d.router(state, false)
	api.Inactive(r, d, state, nil, d.engine)
	return r
}

// workerHandler answers on a worker: the cluster is the managers' business. On a manager
// it answers while there is no majority of them to have the state from.
func (d *Daemon) workerHandler(n *node) http.Handler {
	state := func() swarm.LocalNodeState {
		if n.m.Load().Manager {
			return swarm.LocalNodeStatePending
		}
		return swarm.LocalNodeStateActive
	}
	r := d.router(state, false)
	api.Inactive(r, d, state, nil, d.engine)
	(&attachments{keeper: n.keeper, through: d.through, newest: d.engine().APIVersion}).register(r)
	d.addInfo(r, func() swarm.Info {
		m := n.m.Load()
		s := swarm.Info{NodeID: m.NodeID, NodeAddr: m.DataPathAddr, LocalNodeState: state()}
		if m.Manager {
			s.Error = "waiting for a majority of the managers"
		}
		for _, addr := range m.Managers {
			s.RemoteManagers = append(s.RemoteManagers, swarm.Peer{Addr: addr})
		}
		return s
	})
	return r
}

// brokenHandler answers on a manager whose state is damaged: what is wrong, and nothing else of the cluster.
func (d *Daemon) brokenHandler(n *node, why error) http.Handler {
	state := func() swarm.LocalNodeState { return swarm.LocalNodeStateError }
	r := d.router(state, true)
	api.Inactive(r, d, state, why, d.engine)
	d.addInfo(r, func() swarm.Info {
		m := n.m.Load()
		return swarm.Info{NodeID: m.NodeID, NodeAddr: m.DataPathAddr, LocalNodeState: swarm.LocalNodeStateError, Error: why.Error()}
	})
	return r
}

// addInfo answers /info with the node's place in the cluster in it.
func (d *Daemon) addInfo(r *mux.Router, place func() swarm.Info) {
	info := d.merged(func(w http.ResponseWriter, r *http.Request) error {
		return api.MergeInfo(w, r, d.through, place())
	})
	r.Path("/info").Methods(http.MethodGet).Handler(info)
	r.Path("/v{version:[0-9.]+}/info").Methods(http.MethodGet).Handler(info)
}

// managerHandler is the API of a manager, and the handler that serves it.
func (d *Daemon) managerHandler(n *node, m *manager.Manager) (*api.API, http.Handler) {
	a := api.New(api.Config{
		Store: m.Store(), Membership: d, Through: d.through, Logs: m.Bus().Manager().Logs, Ask: m.Bus().Manager().Ask, Peer: m.Peers().Of,
		SealSecret: m.SealSecret, OpenSecret: m.OpenSecret, SealAuth: m.SealAuth, SealUnlock: m.SealUnlock, OpenUnlock: m.OpenUnlock, RotateCA: m.RotateCA,
		NodeID: n.m.Load().NodeID, Engine: d.engine, Log: d.cfg.Log.With("component", "api"),
	})
	r := d.router(func() swarm.LocalNodeState { return swarm.LocalNodeStateActive }, true)
	d.elsewhereOf(n, m).register(r)
	a.Register(r)
	(&attachments{keeper: n.keeper, through: d.through, newest: d.engine().APIVersion}).register(r)
	return a, r
}

// router passes on to dockerd what no route is added for.
func (d *Daemon) router(state func() swarm.LocalNodeState, manager bool) *mux.Router {
	// Paths must reach dockerd as they came: image names hold escaped slashes.
	r := mux.NewRouter().SkipClean(true).UseEncodedPath()
	r.NotFoundHandler, r.MethodNotAllowedHandler = d.through, d.through
	d.addBackup(r)
	ping := d.ping(state, manager)
	version := d.merged(func(w http.ResponseWriter, r *http.Request) error {
		return api.MergeVersion(w, r, d.through, d.cfg.Version)
	})
	for _, prefix := range []string{"", "/v{version:[0-9.]+}"} {
		r.Path(prefix + "/_ping").Handler(ping)
		r.Path(prefix + "/version").Methods(http.MethodGet).Handler(version)
	}
	return r
}

// merged serves an answer of dockerd's that orch has a part in.
func (d *Daemon) merged(do func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		d.engine().Head(w.Header())
		if err := do(w, r); err != nil {
			d.log.Error("an answer of the Docker Engine is not understood", "path", r.URL.Path, "error", err)
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}
