// Package attach gives containers that are no tasks a place on the cluster's networks: those of `docker run --network` and
// `docker network connect` on this node.
//
// The managers hand out the addresses and keep them for as long as a container has its place, running or not. What a node's
// containers hold is read from its engine and told to the managers as a whole, so that nothing leaks however a container comes
// or goes: a place belongs to whoever has its address in its settings.
//
// The package never touches a container, and knows nothing of tasks.
package attach

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/network"

	"orch/internal/bus"
)

const (
	// askLimit bounds a question to the managers; a client waits for it.
	askLimit = 10 * time.Second
	// lookEvery is how often the containers are looked at when no event tells of them.
	lookEvery = 30 * time.Second
	// settle gathers the events of one container.
	settle = 20 * time.Millisecond
)

// Managers is the connection to them: bus.WorkerConn.
type Managers interface {
	Attach(context.Context, bus.AttachRequest) (bus.Attachment, error)
	Attached(context.Context, bus.Attached) error
}

// Network is the node's part of the cluster's networks: network.Network.
type Network interface {
	Ensure(context.Context, bus.Network) (string, error)
	Attach(ctx context.Context, task, container string, pid int, networks []string) error
	Detach(task string)
	// Mine are the cluster's IDs of the networks on the engine, by the engine's IDs.
	Mine(context.Context) (map[string]string, error)
}

// Docker is what is needed of Docker's client.
type Docker interface {
	ContainerList(context.Context, container.ListOptions) ([]container.Summary, error)
	ContainerInspect(context.Context, string) (container.InspectResponse, error)
	NetworkInspect(context.Context, string, network.InspectOptions) (network.Inspect, error)
	Events(context.Context, events.ListOptions) (<-chan events.Message, <-chan error)
}

// Config is what a Keeper needs.
type Config struct {
	Managers Managers
	Network  Network
	Docker   Docker
	Log      *slog.Logger
}

// Keeper keeps the places of one node's containers.
type Keeper struct {
	Config
	kick chan struct{}

	mu sync.Mutex // guards what follows
	// dropped are places whose container did not come about, until the managers know.
	dropped []string

	// What follows belongs to Run's goroutine.
	joined map[string]joined // by container
	said   string            // the last trouble, so that it is logged once
}

// joined is a running container whose namespace has been prepared.
type joined struct {
	pid      int
	networks string
}

// New is a keeper; Run must run beside it.
func New(cfg Config) *Keeper {
	cfg.Log = cfg.Log.With("component", "attach")
	return &Keeper{Config: cfg, kick: make(chan struct{}, 1), joined: map[string]joined{}}
}

// ErrRefused is wrapped by the managers' refusals, which are in Swarm's words.
//
//lint:ignore ST1005 Docker's words
var ErrRefused = errors.New("Could not attach to network")

// Place is a container's place on a network.
type Place struct {
	ID string
	// Network is the engine's name of it.
	Network        string
	Addr4, Addr6   netip.Addr
	DNS            string
	ClusterNetwork string // its ID
}

// Join asks for a place on a network, by its ID or name; nil says that it is none of the cluster's.
func (k *Keeper) Join(ctx context.Context, r bus.AttachRequest) (*Place, error) {
	if local, err := k.local(ctx, r.Network); err != nil || local {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	got, err := k.Managers.Attach(ctx, r)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w %s: %w", ErrRefused, r.Network, err)
	case got.Unknown:
		return nil, nil
	case got.Refused != "":
		return nil, fmt.Errorf("%w %s: %s", ErrRefused, r.Network, got.Refused)
	}
	if _, err := k.Network.Ensure(ctx, got.Network); err != nil {
		k.Drop(got.ID)
		return nil, fmt.Errorf("%w %s: %w", ErrRefused, r.Network, err)
	}
	p := &Place{ID: got.ID, Network: got.Network.Name, DNS: got.Network.Gateway, ClusterNetwork: got.Network.ID}
	for _, s := range got.Addresses {
		switch a, err := netip.ParsePrefix(s); {
		case err != nil:
		case a.Addr().Is4():
			p.Addr4 = a.Addr()
		default:
			p.Addr6 = a.Addr()
		}
	}
	return p, nil
}

// local says that the engine has a network of that name which is not the cluster's.
func (k *Keeper) local(ctx context.Context, ref string) (bool, error) {
	n, err := k.Docker.NetworkInspect(ctx, ref, network.InspectOptions{})
	if err != nil {
		return false, nil // not here, or dockerd says so itself in a moment
	}
	mine, err := k.Network.Mine(ctx)
	if err != nil {
		return false, err
	}
	return mine[n.ID] == "", nil
}

// Local is the engine's name of a network of the cluster's that is on this node, or "".
func (k *Keeper) Local(ctx context.Context, ref string) string {
	mine, err := k.Network.Mine(ctx)
	if err != nil {
		return ""
	}
	for engine, cluster := range mine {
		if cluster == ref {
			return engine
		}
	}
	return ""
}

// Drop gives places back whose container did not come about.
func (k *Keeper) Drop(ids ...string) {
	k.mu.Lock()
	k.dropped = append(k.dropped, ids...)
	k.mu.Unlock()
	k.Look()
}

// Look has the containers looked at soon.
func (k *Keeper) Look() {
	select {
	case k.kick <- struct{}{}:
	default:
	}
}
