package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
)

// cluster is a small Swarm in memory: tasks are whatever behave says the next time that somebody looks.
type cluster struct {
	Client // what a test does not expect panics

	// behave gives the tasks of a service, from how long ago it was written.
	behave func(s swarm.Service, age time.Duration) []swarm.Task

	mu       sync.Mutex
	next     int
	orch     bool
	services map[string]*swarm.Service
	written  map[string]time.Time
	networks []network.Summary
	secrets  []swarm.Secret
	configs  []swarm.Config
	calls    []string // writes, in order
}

func newCluster() *cluster {
	return &cluster{orch: true, services: map[string]*swarm.Service{}, written: map[string]time.Time{}, behave: runsAfter(100 * time.Millisecond)}
}

// runsAfter makes every task run after a while.
func runsAfter(d time.Duration) func(swarm.Service, time.Duration) []swarm.Task {
	return func(s swarm.Service, age time.Duration) []swarm.Task {
		state := swarm.TaskStateStarting
		if age >= d {
			state = swarm.TaskStateRunning
		}
		return tasks(s, state, "")
	}
}

func tasks(s swarm.Service, state swarm.TaskState, err string) []swarm.Task {
	var out []swarm.Task
	n := 1
	if r := s.Spec.Mode.Replicated; r != nil {
		n = int(*r.Replicas)
	}
	desired := swarm.TaskStateRunning
	if ended(state) {
		desired = swarm.TaskStateShutdown
	}
	for i := 1; i <= n; i++ {
		out = append(out, swarm.Task{ID: fmt.Sprintf("%s.%d.%d", s.ID, i, s.Version.Index), ServiceID: s.ID, Slot: i, DesiredState: desired, Spec: s.Spec.TaskTemplate,
			NodeID: "n1", Status: swarm.TaskStatus{State: state, Err: err}})
	}
	return out
}

func (c *cluster) id(call string) string {
	c.next++
	c.calls = append(c.calls, call)
	return fmt.Sprint("id", c.next)
}

func (c *cluster) ServerVersion(context.Context) (types.Version, error) {
	v := types.Version{APIVersion: "1.51"}
	if c.orch {
		v.Components = []types.ComponentVersion{{Name: "orch"}}
	}
	return v, nil
}

func (c *cluster) Events(ctx context.Context, _ events.ListOptions) (<-chan events.Message, <-chan error) {
	return make(chan events.Message), make(chan error)
}

func (c *cluster) NodeList(context.Context, swarm.NodeListOptions) ([]swarm.Node, error) {
	return []swarm.Node{{ID: "n1", Status: swarm.NodeStatus{State: swarm.NodeStateReady}, Spec: swarm.NodeSpec{Availability: swarm.NodeAvailabilityActive}, Description: swarm.NodeDescription{Hostname: "host1"}}}, nil
}

func (c *cluster) ServiceList(_ context.Context, o swarm.ServiceListOptions) (list []swarm.Service, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.services {
		if matches(o.Filters, s.Spec.Labels) {
			list = append(list, *s)
		}
	}
	return list, nil
}

func matches(f filters.Args, labels map[string]string) bool { return f.MatchKVList("label", labels) }

func (c *cluster) ServiceCreate(_ context.Context, spec swarm.ServiceSpec, _ swarm.ServiceCreateOptions) (swarm.ServiceCreateResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.id("create " + spec.Name)
	spec.TaskTemplate.ContainerSpec.Image += ":latest@sha256:0123456789012345678901234567890123456789012345678901234567890123"
	spec.TaskTemplate.Runtime = swarm.RuntimeContainer
	for i, n := range spec.TaskTemplate.Networks {
		if n.Target == "host" || n.Target == "bridge" {
			spec.TaskTemplate.Networks[i].Target = "predefined-" + n.Target
		}
		for _, known := range c.networks {
			if known.Name == n.Target {
				spec.TaskTemplate.Networks[i].Target = known.ID
			}
		}
	}
	c.services[spec.Name] = &swarm.Service{ID: id, Spec: spec, Meta: swarm.Meta{Version: swarm.Version{Index: 1}}}
	c.written[id] = time.Now()
	return swarm.ServiceCreateResponse{ID: id}, nil
}

func (c *cluster) ServiceUpdate(_ context.Context, id string, v swarm.Version, spec swarm.ServiceSpec, _ swarm.ServiceUpdateOptions) (swarm.ServiceUpdateResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.id("update " + spec.Name)
	s := c.services[spec.Name]
	if v != s.Version {
		return swarm.ServiceUpdateResponse{}, errors.New("rpc error: code = Unknown desc = update out of sequence")
	}
	old := s.Spec
	s.Spec, s.PreviousSpec = spec, &old
	s.Version.Index++
	c.written[id] = time.Now()
	return swarm.ServiceUpdateResponse{}, nil
}

func (c *cluster) ServiceRemove(_ context.Context, id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, s := range c.services {
		if s.ID == id {
			c.id("remove " + name)
			delete(c.services, name)
		}
	}
	return nil
}

func (c *cluster) TaskList(context.Context, swarm.TaskListOptions) (list []swarm.Task, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.services {
		list = append(list, c.behave(*s, time.Since(c.written[s.ID]))...)
	}
	return list, nil
}

func (c *cluster) TaskLogs(context.Context, string, container.LogsOptions) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("")), nil
}

func (c *cluster) NetworkList(context.Context, network.ListOptions) ([]network.Summary, error) {
	return c.networks, nil
}

func (c *cluster) NetworkInspect(_ context.Context, id string, _ network.InspectOptions) (network.Inspect, error) {
	if name, ok := strings.CutPrefix(id, "predefined-"); ok {
		return network.Inspect{ID: id, Name: name}, nil
	}
	return network.Inspect{}, errdefs.ErrNotFound.WithMessage("network " + id + " not found")
}

func (c *cluster) NetworkCreate(_ context.Context, name string, o network.CreateOptions) (network.CreateResponse, error) {
	id := c.id("create " + name)
	c.networks = append(c.networks, network.Summary{ID: id, Name: name, Labels: o.Labels, Driver: o.Driver, Internal: o.Internal, Attachable: o.Attachable})
	return network.CreateResponse{ID: id}, nil
}

func (c *cluster) NetworkRemove(_ context.Context, id string) error {
	c.id("remove network")
	return nil
}

func (c *cluster) SecretList(context.Context, swarm.SecretListOptions) ([]swarm.Secret, error) {
	return c.secrets, nil
}

func (c *cluster) SecretCreate(_ context.Context, spec swarm.SecretSpec) (swarm.SecretCreateResponse, error) {
	id := c.id("create " + spec.Name)
	spec.Data = nil // the API does not give it back
	c.secrets = append(c.secrets, swarm.Secret{ID: id, Spec: spec})
	return swarm.SecretCreateResponse{ID: id}, nil
}

func (c *cluster) SecretRemove(_ context.Context, id string) error {
	c.id("remove secret")
	c.secrets = slices.DeleteFunc(c.secrets, func(s swarm.Secret) bool { return s.ID == id })
	return nil
}

func (c *cluster) ConfigList(_ context.Context, o swarm.ConfigListOptions) (list []swarm.Config, _ error) {
	for _, cfg := range c.configs {
		if matches(o.Filters, cfg.Spec.Labels) && o.Filters.ExactMatch("id", cfg.ID) {
			list = append(list, cfg)
		}
	}
	return list, nil
}

func (c *cluster) ConfigCreate(_ context.Context, spec swarm.ConfigSpec) (swarm.ConfigCreateResponse, error) {
	for _, other := range c.configs {
		if other.Spec.Name == spec.Name {
			return swarm.ConfigCreateResponse{}, errdefs.ErrAlreadyExists.WithMessage("config " + spec.Name + " already exists")
		}
	}
	id := c.id("create " + spec.Name)
	spec.Labels = maps.Clone(spec.Labels)
	c.configs = append(c.configs, swarm.Config{ID: id, Spec: spec})
	return swarm.ConfigCreateResponse{ID: id}, nil
}

func (c *cluster) ConfigUpdate(_ context.Context, id string, _ swarm.Version, spec swarm.ConfigSpec) error {
	for i := range c.configs {
		if c.configs[i].ID == id {
			c.configs[i].Spec = spec
		}
	}
	return nil
}

func (c *cluster) ConfigRemove(_ context.Context, id string) error {
	for i := range c.configs {
		if c.configs[i].ID == id {
			c.id("remove " + c.configs[i].Spec.Name)
			c.configs = slices.Delete(slices.Clone(c.configs), i, i+1)
			return nil
		}
	}
	return nil
}

func (c *cluster) ContainerInspect(context.Context, string) (container.InspectResponse, error) {
	return container.InspectResponse{}, errors.New("not on this node")
}
