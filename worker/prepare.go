package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/worker/engine"
	"orch/worker/spec"
)

// callLimit bounds a single call of the engine or the network that does not wait for a process.
const callLimit = 2 * time.Minute

// prepared is what a task's container is made with.
type prepared struct {
	image    string            // what the engine knows it by
	networks map[string]string // the engine's names, by ID
	files    []mount.Mount
}

// placing makes what a container needs around it.
type placing struct {
	task     spec.Task
	node     swarm.NodeDescription
	networks []bus.Network
	secrets  map[string]bus.Secret
	configs  map[string]bus.Config
	// again says that the container is there and has its files mounted.
	again bool
}

func (a *Agent) placing(t *task) (placing, error) {
	parsed, err := a.parse(t)
	if err != nil {
		return placing{}, err
	}
	p := placing{task: parsed, node: a.link.node(), again: t.container != "", secrets: map[string]bus.Secret{}, configs: map[string]bus.Config{}}
	for _, id := range parsed.Networks() {
		p.networks = append(p.networks, a.set.networks[id])
	}
	secrets, configs := parsed.Needs()
	for _, id := range secrets {
		if s, ok := a.set.secrets[id]; ok {
			p.secrets[id] = s
		}
	}
	for _, id := range configs {
		if c, ok := a.set.configs[id]; ok {
			p.configs[id] = c
		}
	}
	return p, nil
}

func (a *Agent) place(ctx context.Context, p placing) (*prepared, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	out := &prepared{networks: map[string]string{}}
	for _, n := range p.networks {
		name, err := a.Network.Ensure(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("network %s: %w", n.Name, err)
		}
		out.networks[n.ID] = name
	}
	if n := p.task.FileCount(); n == 0 || p.again && a.files.Whole(p.task.ID, n) {
		return out, nil
	}
	fs, err := p.task.Files(p.node, p.secrets, p.configs)
	if err != nil {
		return nil, err
	}
	out.files, err = a.files.Put(p.task.ID, fs)
	return out, err
}

func (a *Agent) prepare(t *task) job {
	a.say(t, swarm.TaskStatePreparing, saidPreparing)
	p, err := a.placing(t)
	if err != nil {
		return func(context.Context) func() { return func() { a.broke(t, err) } }
	}
	auth := t.PullAuth
	return func(ctx context.Context) func() {
		made, err := a.place(ctx, p)
		if err == nil {
			made.image, err = a.images.choose(ctx, p.task.ID, p.task.Extra.ImageID, want{
				ref: p.task.Image(), auth: auth, policy: p.task.Extra.PullPolicy, after: p.task.Extra.PullAfter,
			})
		}
		return func() {
			if err != nil {
				a.broke(t, err)
				return
			}
			t.prepared = made
		}
	}
}

func (a *Agent) create(t *task) job {
	parsed, _ := a.parse(t) // it was parsed to be prepared
	place := spec.Place{
		Node: a.link.node(), Image: t.prepared.image, Networks: maps.Clone(t.prepared.networks), Files: t.prepared.files,
	}
	return func(ctx context.Context) func() {
		place.DNS = a.Network.DNS(parsed.Networks()) // may wait for an Apply
		id, adopted, err := a.makeContainer(ctx, parsed, place)
		return func() {
			if err != nil {
				a.broke(t, err)
				return
			}
			t.container, t.unsure = id, adopted
			a.say(t, swarm.TaskStateReady, saidPrepared)
			a.resolve(t)
		}
	}
}

// makeContainer creates the container, or finds the one that an answer that never came had created.
func (a *Agent) makeContainer(ctx context.Context, t spec.Task, p spec.Place) (id string, adopted bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	c, err := t.Container(p)
	if err != nil {
		return "", false, err
	}
	id, err = a.Engine.Create(ctx, c)
	if !errors.Is(err, engine.ErrConflict) {
		return id, false, err
	}
	there, lookErr := a.Engine.Inspect(ctx, c.Name)
	if lookErr != nil || there.Labels[spec.LabelTask] != t.ID {
		return "", false, err
	}
	return there.ID, true, nil
}
