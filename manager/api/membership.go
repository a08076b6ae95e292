package api

import (
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"
	"github.com/gorilla/mux"
)

// Swarm's words for calls that need a manager.
// Source: moby, daemon/cluster/errors.go.
const (
	notMember = `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`
	isWorker  = `This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.`
	// Locked answers whatever a locked manager is asked.
	Locked = `Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.`
)

// ErrNoManager is the answer of a node that is in no cluster.
var ErrNoManager error = refuse(errdefs.ErrUnavailable, notMember)

type membership struct{ m Membership }

func (a *API) membershipRoutes() []route { return membershipRoutes(a.Membership) }

func membershipRoutes(m Membership) []route {
	h := membership{m: m}
	return []route{
		{"POST", "/swarm/init", h.init},
		{"POST", "/swarm/join", h.join},
		{"POST", "/swarm/leave", h.leave},
		{"POST", "/swarm/unlock", h.unlock},
	}
}

// Inactive registers the answers of a node that is no manager: state says
// whether it is in no cluster (inactive), a worker (active), locked, or in error for the
// reason why. engine is as Config.Engine.
func Inactive(r *mux.Router, m Membership, state func() swarm.LocalNodeState, why error, engine func() Engine) {
	no := func(http.ResponseWriter, *http.Request) error {
		switch state() {
		case swarm.LocalNodeStateActive:
			return refuse(errdefs.ErrUnavailable, isWorker)
		case swarm.LocalNodeStatePending:
			return remote(errdefs.ErrUnavailable, noLeader)
		case swarm.LocalNodeStateLocked:
			return refuse(errdefs.ErrUnavailable, Locked)
		case swarm.LocalNodeStateError:
			return refuse(errdefs.ErrUnavailable, "%s", why)
		}
		return ErrNoManager
	}
	// The tables are only read for what there is; nothing of this API is called.
	none := &API{}
	register(r, engine, membershipRoutes(m))
	for _, table := range [][]route{none.swarmRoutes(), none.nodeRoutes(), none.serviceRoutes(), none.taskRoutes(), none.secretRoutes(), none.configRoutes()} {
		for i := range table {
			table[i].do = no
		}
		register(r, engine, table)
	}
}

func (h membership) init(w http.ResponseWriter, r *http.Request) error {
	var req swarm.InitRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	if err := checkAnnotatedName(req.Spec.Name); err != nil {
		return err
	}
	if err := checkCluster(&req.Spec); err != nil {
		return refuse(err, "error updating cluster settings: %v", err)
	}
	id, err := h.m.Init(r.Context(), req)
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, id)
}

// clusterName is the one that a cluster has.
const clusterName = "default"

// checkAnnotatedName refuses every name but the one that a cluster has.
func checkAnnotatedName(name string) error {
	if name != "" && name != clusterName {
		return invalid(`swarm spec must be named "default"`)
	}
	return nil
}

func (h membership) join(w http.ResponseWriter, r *http.Request) error {
	var req swarm.JoinRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	return done(w, h.m.Join(r.Context(), req))
}

func (h membership) leave(w http.ResponseWriter, r *http.Request) error {
	return done(w, h.m.Leave(r.Context(), flag(r, "force")))
}

func (h membership) unlock(w http.ResponseWriter, r *http.Request) error {
	var req swarm.UnlockRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	return done(w, h.m.Unlock(r.Context(), req))
}

// done answers a call that has nothing to say.
func done(w http.ResponseWriter, err error) error {
	if err == nil {
		w.WriteHeader(http.StatusOK)
	}
	return err
}
