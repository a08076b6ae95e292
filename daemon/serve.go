package daemon

import (
	"context"
	"net/http"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"
	"github.com/gorilla/mux"

	"orch/manager/api"
)

// pingTimeout bounds the question for dockerd's API version.
const pingTimeout = 2 * time.Second

// outsideHandler answers while the node is in no cluster.
func (d *Daemon) outsideHandler(ctx context.Context) http.Handler {
	state := func() swarm.LocalNodeState { return swarm.LocalNodeStateInactive }
	r := d.router(state, false)
	api.Inactive(r, d, state, d.engineVersion(ctx))
	return r
}

// memberAPI is the API of a manager, and the handler that serves it.
func (d *Daemon) memberAPI(ctx context.Context, n *node) (*api.API, http.Handler) {
	a := api.New(api.Config{
		Store: n.manager.Store(), Membership: d, Through: d.through, Logs: n.manager.Bus().Manager().Logs,
		SealSecret: n.manager.SealSecret, SealAuth: n.manager.SealAuth,
		NodeID: n.m.NodeID, APIVersion: d.engineVersion(ctx), Log: d.cfg.Log.With("component", "api"),
	})
	r := d.router(func() swarm.LocalNodeState { return swarm.LocalNodeStateActive }, true)
	a.Register(r)
	return a, r
}

// router passes on to dockerd what no route is added for.
func (d *Daemon) router(state func() swarm.LocalNodeState, manager bool) *mux.Router {
	// Paths must reach dockerd as they came: image names hold escaped slashes.
	r := mux.NewRouter().SkipClean(true).UseEncodedPath()
	r.NotFoundHandler, r.MethodNotAllowedHandler = d.through, d.through
	ping := d.ping(state, manager)
	r.Path("/_ping").Handler(ping)
	r.Path("/v{version:[0-9.]+}/_ping").Handler(ping)
	return r
}

// engineVersion is the newest API version of the local dockerd, "" if it does not say.
func (d *Daemon) engineVersion(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	p, err := d.docker.Ping(ctx)
	if err != nil {
		d.log.Warn("the Docker Engine does not answer", "host", d.cfg.DockerHost, "error", err)
		return ""
	}
	return p.APIVersion
}

// Join refuses: a cluster has one node so far.
func (d *Daemon) Join(context.Context, swarm.JoinRequest) error {
	return errdefs.ErrNotImplemented.WithMessage("joining a cluster is not possible in this version of orch: a cluster is one machine")
}

// Unlock refuses: a manager's keys are not locked.
func (d *Daemon) Unlock(context.Context, swarm.UnlockRequest) error { return errNotLocked }
