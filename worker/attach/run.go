package attach

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"

	"orch/internal/bus"
)

// taskLabel marks the containers of tasks, which are the agent's.
const taskLabel = "com.docker.swarm.task.id"

// Run follows the node's containers until the context ends.
func (k *Keeper) Run(ctx context.Context) error {
	var told string
	timer := time.NewTimer(0)
	defer timer.Stop()
	heard, broken := k.events(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-heard:
			if m.Actor.Attributes[taskLabel] == "" {
				timer.Reset(settle)
			}
		case <-broken: // dockerd went away; what happened meanwhile shows in the next look
			heard, broken = nil, nil
		case <-k.kick:
			timer.Reset(settle)
		case <-timer.C:
			if broken == nil {
				heard, broken = k.events(ctx)
			}
			told = k.look(ctx, told)
			timer.Reset(lookEvery)
		}
	}
}

func (k *Keeper) events(ctx context.Context) (<-chan events.Message, <-chan error) {
	args := filters.NewArgs(filters.Arg("type", "container"))
	for _, e := range []string{"start", "die", "destroy", "rename"} {
		args.Add("event", e)
	}
	return k.Docker.Events(ctx, events.ListOptions{Filters: args})
}

// look tells the managers what the containers hold if that is news, and prepares those that run. It returns what was told.
func (k *Keeper) look(ctx context.Context, told string) string {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	held, err := k.held(ctx)
	if err != nil {
		k.note(err)
		return told
	}
	k.join(ctx, held)
	k.mu.Lock()
	say := bus.Attached{Held: held, Dropped: slices.Clone(k.dropped)}
	k.mu.Unlock()
	now, _ := json.Marshal(say) // strings always encode
	if len(held) == 0 && string(now) == told {
		return told // a node without such containers is silent
	}
	if err := k.Managers.Attached(ctx, say); err != nil {
		k.note(err)
		return ""
	}
	k.note(nil)
	k.mu.Lock()
	k.dropped = k.dropped[len(say.Dropped):]
	k.mu.Unlock()
	return string(now)
}

// note logs trouble once.
func (k *Keeper) note(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != k.said {
		k.Log.Warn("the places of containers on the cluster's networks are not up to date", "err", err)
	}
	k.said = text
}

// held is what the containers have, in a steady order.
func (k *Keeper) held(ctx context.Context) ([]bus.Held, error) {
	mine, err := k.Network.Mine(ctx)
	if err != nil || len(mine) == 0 {
		return nil, err
	}
	all, err := k.Docker.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, err
	}
	var out []bus.Held
	for _, c := range all {
		if c.Labels[taskLabel] != "" || c.NetworkSettings == nil || !on(c.NetworkSettings.Networks, mine) {
			continue
		}
		full, err := k.Docker.ContainerInspect(ctx, c.ID) // lists leave out aliases
		if cerrdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, places(full, mine)...)
	}
	slices.SortFunc(out, func(a, b bus.Held) int {
		return strings.Compare(a.Network+a.Address, b.Network+b.Address)
	})
	return out, nil
}

// clusterID is the network of an endpoint. One that the container has never been started on is known by name only.
func clusterID(name string, e *network.EndpointSettings, mine map[string]string) string {
	if e != nil && mine[e.NetworkID] != "" {
		return mine[e.NetworkID]
	}
	return mine[name]
}

func on(endpoints map[string]*network.EndpointSettings, mine map[string]string) bool {
	for name, e := range endpoints {
		if clusterID(name, e, mine) != "" {
			return true
		}
	}
	return false
}

// places are a container's.
func places(c container.InspectResponse, mine map[string]string) (out []bus.Held) {
	if c.NetworkSettings == nil || c.ContainerJSONBase == nil {
		return nil
	}
	for name, e := range c.NetworkSettings.Networks {
		id := clusterID(name, e, mine)
		if id == "" || e == nil || e.IPAMConfig == nil || e.IPAMConfig.IPv4Address == "" {
			continue
		}
		h := bus.Held{
			Network: id, Address: e.IPAMConfig.IPv4Address, Address6: e.IPAMConfig.IPv6Address, Container: c.ID,
			Name: strings.TrimPrefix(c.Name, "/"), Running: c.State != nil && c.State.Running,
		}
		for _, a := range e.Aliases {
			if a != h.Name && !strings.HasPrefix(c.ID, a) { // the short ID is an alias of Docker's own
				h.Aliases = append(h.Aliases, a)
			}
		}
		out = append(out, h)
	}
	return out
}

// join prepares the namespaces of running containers for service addresses, and forgets those of containers that have ended.
func (k *Keeper) join(ctx context.Context, held []bus.Held) {
	running := map[string][]string{}
	for _, h := range held {
		if h.Running {
			running[h.Container] = append(running[h.Container], h.Network)
		}
	}
	for id := range maps.Clone(k.joined) {
		if running[id] == nil {
			k.Network.Detach(id)
			delete(k.joined, id)
		}
	}
	for id, networks := range running {
		c, err := k.Docker.ContainerInspect(ctx, id)
		if err != nil || c.State == nil || c.State.Pid == 0 {
			continue // it has ended: an event says so
		}
		now := joined{c.State.Pid, strings.Join(networks, " ")}
		if k.joined[id] == now {
			continue
		}
		if err := k.Network.Attach(ctx, id, id, c.State.Pid, networks); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue // it has ended meanwhile
			}
			k.Log.Warn("a container cannot use service addresses", "container", c.Name, "err", err)
			continue
		}
		k.joined[id] = now
	}
}
