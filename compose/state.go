package compose

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"orch/internal/extra"
	"orch/internal/strategy"
)

// state is what a server has, as far as a plan for one stack is concerned.
type state struct {
	orch     bool   // the server is orch, not Docker's own swarm mode
	api      string // the version of its API
	nodes    int
	networks []network.Summary // all: services refer to them by id, and external ones have no label
	secrets  []swarm.Secret
	configs  []swarm.Config
	services []swarm.Service // of the stack

	revisions []Revision // of the stack, the newest first; they are in no other list
}

func stackFilter(stack string) filters.Args {
	return filters.NewArgs(filters.Arg("label", LabelNamespace+"="+stack))
}

// observe reads everything that a plan needs, at once.
func observe(ctx context.Context, cli Client, stack string) (*state, error) {
	s := &state{}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		v, err := cli.ServerVersion(ctx)
		s.api = v.APIVersion
		s.orch = IsOrch(v)
		return wrap(err, "read the server's version")
	})
	g.Go(func() error {
		nodes, err := cli.NodeList(ctx, swarm.NodeListOptions{})
		s.nodes = len(nodes)
		return wrap(err, "list nodes")
	})
	g.Go(func() (err error) {
		s.networks, err = cli.NetworkList(ctx, network.ListOptions{})
		return wrap(err, "list networks")
	})
	g.Go(func() (err error) {
		s.secrets, err = cli.SecretList(ctx, swarm.SecretListOptions{})
		return wrap(err, "list secrets")
	})
	g.Go(func() (err error) {
		s.configs, err = cli.ConfigList(ctx, swarm.ConfigListOptions{})
		return wrap(err, "list configs")
	})
	g.Go(func() (err error) {
		s.services, err = cli.ServiceList(ctx, swarm.ServiceListOptions{Filters: stackFilter(stack)})
		return wrap(err, "list services")
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	s.revisions = Revisions(stack, s.configs)
	s.configs = slices.DeleteFunc(s.configs, IsRevision)
	if err := s.nameTargets(ctx, cli); err != nil {
		return nil, err
	}
	slices.SortFunc(s.services, func(a, b swarm.Service) int { return strings.Compare(a.Spec.Name, b.Spec.Name) })
	return s, nil
}

// nameTargets asks for the networks of services that no list has: the engines' own, host and bridge.
func (s *state) nameTargets(ctx context.Context, cli Client) error {
	known := s.networkNames()
	for _, service := range s.services {
		for _, n := range service.Spec.TaskTemplate.Networks {
			if known[n.Target] != "" {
				continue
			}
			found, err := cli.NetworkInspect(ctx, n.Target, network.InspectOptions{})
			if errdefs.IsNotFound(err) {
				continue // the plan will show it as it is
			}
			if err != nil {
				return fmt.Errorf("inspect network %s: %w", n.Target, err)
			}
			known[n.Target] = found.Name
			s.networks = append(s.networks, network.Summary{ID: n.Target, Name: found.Name})
		}
	}
	return nil
}

func wrap(err error, doing string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func (s *state) service(name string) *swarm.Service {
	for i := range s.services {
		if s.services[i].Spec.Name == name {
			return &s.services[i]
		}
	}
	return nil
}

func (s *state) hasNetwork(name string) bool {
	return slices.ContainsFunc(s.networks, func(n network.Summary) bool { return n.Name == name })
}

func (s *state) secretID(name string) string {
	for _, o := range s.secrets {
		if o.Spec.Name == name {
			return o.ID
		}
	}
	return ""
}

func (s *state) configID(name string) string {
	for _, o := range s.configs {
		if o.Spec.Name == name {
			return o.ID
		}
	}
	return ""
}

func (s *state) networkNames() map[string]string {
	names := map[string]string{}
	for _, n := range s.networks {
		names[n.ID] = n.Name
	}
	return names
}

// warnTarget says what this server will not do with the stack: a real Swarm knows nothing of orch's extras, and several
// nodes do not share a directory.
func (p *Plan) warnTarget() {
	for _, s := range p.want.Services {
		c := s.Spec.TaskTemplate.ContainerSpec
		if lost := append(extras(c.Labels), strategies(s.Spec.Labels)...); !p.have.orch && len(lost) > 0 {
			p.Warnings = append(p.Warnings, Warning{Key: "services." + s.Key, Text: "the server is Docker's swarm mode, which lacks and ignores: " + strings.Join(lost, ", ")})
		}
		for _, m := range c.Mounts {
			if m.Type == mount.TypeBind && p.have.nodes > 1 {
				p.Warnings = append(p.Warnings, Warning{Key: "services." + s.Key + ".volumes",
					Text: fmt.Sprintf("%s is a directory of the node that a task runs on, and there are %d nodes", m.Source, p.have.nodes)})
			}
		}
	}
}

// extras names what a container's labels ask for beyond Swarm. The id of a built image asks for nothing.
func extras(labels map[string]string) []string {
	e, err := extra.FromLabels(labels)
	if err != nil {
		return nil // Convert wrote the label; it reads
	}
	e.ImageID = ""
	return slices.Sorted(maps.Keys(toMap(e)))
}

// strategies names the keys of x-orch that a service's labels stand for.
func strategies(labels map[string]string) (keys []string) {
	s, err := strategy.Parse(labels)
	if err != nil {
		return nil // Convert has checked its own; orch's API refuses those of people
	}
	if s.Canary > 0 {
		keys = append(keys, "x-orch.canary")
	}
	if s.BlueGreen {
		keys = append(keys, "x-orch.blue_green")
	}
	return keys
}
