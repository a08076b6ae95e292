// Package api is the Swarm half of the Docker Engine API: it decodes and
// validates requests, writes what is wanted to the store, and encodes what the
// store says. Texts, defaults and status codes are Swarm's.
//
// It decides nothing that a control loop decides: a service that is created has
// no tasks, and a network no subnet, until the leader's loop gives it them. What
// has no route here is the caller's to pass on to the local dockerd; the calls
// that both halves answer (networks, info, events) ask that dockerd through
// Config.Through and put their own part in.
package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"

	"github.com/docker/docker/api/types/swarm"
	"github.com/gorilla/mux"

	"orch/internal/bus"
	"orch/internal/store"
)

// Config is what the API needs.
type Config struct {
	Store      *store.Store
	Membership Membership
	// Through is the local dockerd's API.
	Through http.Handler
	// Logs opens the log of one task's container, as dockerd frames it.
	Logs func(ctx context.Context, node string, r bus.LogRequest) (io.ReadCloser, error)
	// Ask asks a node about its part of the networks.
	Ask func(ctx context.Context, node string, q bus.Question) (bus.Answer, error)
	// SealSecret and SealAuth seal what must not be stored in the clear, for the
	// secret and the service of that ID.
	SealSecret func(id string, data []byte) []byte
	// OpenSecret opens a secret's data, for comparing; it never leaves a manager.
	OpenSecret func(*store.Secret) ([]byte, error)
	SealAuth   func(service, auth string) []byte
	// SealUnlock and OpenUnlock are for the cluster's unlock key, as users keep it.
	SealUnlock func(key string) []byte
	OpenUnlock func(sealed []byte) (string, error)
	// RotateCA has another CA take over: that of the certificate and key in PEM, or a new one
	// if they are nil.
	RotateCA func(c *store.Cluster, certPEM, keyPEM []byte) error
	// Peer is what this manager knows of another, or of itself.
	Peer   func(node string) bus.Standing
	NodeID string
	// Engine is what the local dockerd says of itself; nil is the newest that this
	// package speaks.
	Engine func() Engine
	Log    *slog.Logger
}

// Membership is what a node can do about being part of a cluster. The daemon
// implements it, for it is there before and after the cluster.
type Membership interface {
	Init(ctx context.Context, r swarm.InitRequest) (nodeID string, err error)
	Join(ctx context.Context, r swarm.JoinRequest) error
	Leave(ctx context.Context, force bool) error
	Unlock(ctx context.Context, r swarm.UnlockRequest) error
}

// API answers the calls. Run must run beside it.
type API struct {
	Config
	encoded encoded
	events  *history
	tasks   *history // apart, so that they do not push the others out
}

// New is an API on a store.
func New(cfg Config) *API {
	return &API{Config: cfg, events: newHistory(keptEvents), tasks: newHistory(keptTasks)}
}

// Register adds the routes, each with and without a version before it.
func (a *API) Register(r *mux.Router) {
	// In the order in which they are matched: what waiting clients ask for again and again comes first.
	register(r, a.Engine, a.taskRoutes(), a.serviceRoutes(), a.nodeRoutes(), a.networkRoutes(), a.swarmRoutes(), a.secretRoutes(),
		a.configRoutes(), a.systemRoutes(), a.netRoutes(), a.membershipRoutes())
}

// Run turns changes of the store into events and forgets what is gone, until
// the context ends.
func (a *API) Run(ctx context.Context) error {
	w, _ := a.Store.Watch()
	defer w.Close()
	for {
		select {
		case <-w.C():
		case <-ctx.Done():
			return nil
		}
		changes, lost := w.Take()
		if lost {
			a.Log.Warn("events were lost: the state changed faster than they were taken in")
		}
		for _, c := range changes {
			if c.New == nil {
				a.encoded.forget(c.Kind, c.ID())
			}
			switch m, ok := eventOf(c); {
			case ok && m.Type == TaskEventType:
				a.tasks.add(m)
			case ok:
				a.events.add(m)
			}
		}
	}
}
