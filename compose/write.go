package compose

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
)

// writeTries bounds how often an update is repeated because something else has touched the service: the server itself does
// so while an update is under way.
const writeTries = 5

// prepare creates what the services refer to, and reads what there was before.
func (r *rollout) prepare(ctx context.Context) error {
	if err := r.readBefore(ctx); err != nil {
		return err
	}
	for _, c := range r.plan.Changes {
		if c.Action != Create || c.Kind == KindService {
			continue
		}
		id, err := r.create(ctx, c)
		if err != nil {
			return fmt.Errorf("create %s %s: %w", c.Kind, c.Name, err)
		}
		switch c.Kind {
		case KindSecret:
			r.plan.have.secrets = append(r.plan.have.secrets, swarm.Secret{ID: id, Spec: swarm.SecretSpec{Annotations: swarm.Annotations{Name: c.Name}}})
		case KindConfig:
			r.plan.have.configs = append(r.plan.have.configs, swarm.Config{ID: id, Spec: swarm.ConfigSpec{Annotations: swarm.Annotations{Name: c.Name}}})
		case KindNetwork:
			r.plan.have.networks = append(r.plan.have.networks, network.Summary{ID: id, Name: c.Name})
		}
		r.emit(Event{Kind: c.Kind, Name: r.plan.want.Short(c.Name), Action: Create, Phase: Done})
	}
	return nil
}

func (r *rollout) create(ctx context.Context, c Change) (string, error) {
	switch c.Kind {
	case KindNetwork:
		for _, n := range r.plan.want.Networks {
			if n.Name == c.Name {
				created, err := r.cli.NetworkCreate(ctx, n.Name, n.Options)
				return created.ID, err
			}
		}
	case KindSecret:
		for _, s := range r.plan.want.Secrets {
			if s.Name == c.Name {
				created, err := r.cli.SecretCreate(ctx, s)
				return created.ID, err
			}
		}
	case KindConfig:
		for _, s := range r.plan.want.Configs {
			if s.Name == c.Name {
				created, err := r.cli.ConfigCreate(ctx, s)
				return created.ID, err
			}
		}
	}
	return "", errors.New("not part of the plan's stack")
}

// write brings one service to what the plan wants.
func (r *rollout) write(ctx context.Context, t *tracked, now *swarm.Service) error {
	spec := clone(t.Spec)
	r.fillIDs(&spec)
	if t.change.Action == Replace && now != nil {
		if err := r.remove(ctx, *now); err != nil {
			return err
		}
		now = nil
	}
	if now == nil {
		_, err := r.cli.ServiceCreate(ctx, spec, swarm.ServiceCreateOptions{EncodedRegistryAuth: r.auth(spec), QueryRegistry: r.o.ResolveImages})
		return wrap(err, "create service "+spec.Name)
	}
	if t.change.Action == Create {
		return fmt.Errorf("create service %s: it has come into being since the plan was made; plan again", spec.Name)
	}
	keep(&spec, now.Spec)
	if t.change.force {
		spec.TaskTemplate.ForceUpdate++
	}
	return r.update(ctx, *now, spec)
}

// keep takes over what a file has no say in: the restart counter, and the digest that the server found for the same image.
func keep(spec *swarm.ServiceSpec, now swarm.ServiceSpec) {
	spec.TaskTemplate.ForceUpdate = now.TaskTemplate.ForceUpdate
	if c := now.TaskTemplate.ContainerSpec; c != nil {
		tag, _, _ := strings.Cut(c.Image, "@")
		if image := spec.TaskTemplate.ContainerSpec.Image; tag == image || tag == image+":latest" {
			spec.TaskTemplate.ContainerSpec.Image = c.Image
		}
	}
}

// update writes spec over now. When the service has moved on meanwhile, it is read again, and written as long as its
// specification is still the one that the plan was made against.
func (r *rollout) update(ctx context.Context, now swarm.Service, spec swarm.ServiceSpec) error {
	planned := now.Spec
	var err error
	for range writeTries {
		_, err = r.cli.ServiceUpdate(ctx, now.ID, now.Version, spec, swarm.ServiceUpdateOptions{EncodedRegistryAuth: r.auth(spec), QueryRegistry: r.o.ResolveImages})
		if err == nil || !strings.Contains(err.Error(), "update out of sequence") {
			break
		}
		services, listErr := r.cli.ServiceList(ctx, swarm.ServiceListOptions{Filters: stackFilter(r.plan.Stack)})
		if listErr != nil {
			return fmt.Errorf("list services: %w", listErr)
		}
		again := find(services, spec.Name)
		if again == nil || len(serviceFields(planned, again.Spec, r.plan.have.networkNames())) > 0 {
			return fmt.Errorf("update service %s: somebody else has changed it since the plan was made; plan again", spec.Name)
		}
		now = *again
	}
	return wrap(err, "update service "+spec.Name)
}

// revive starts a service again that has given up: its file says that it is to run, and waiting would change nothing.
func (r *rollout) revive(ctx context.Context, t *tracked, now swarm.Service) error {
	spec := clone(now.Spec)
	spec.TaskTemplate.ForceUpdate++
	t.revived = true
	return r.update(ctx, now, spec)
}

func (r *rollout) remove(ctx context.Context, s swarm.Service) error {
	if err := r.cli.ServiceRemove(ctx, s.ID); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove service %s: %w", s.Spec.Name, err)
	}
	return tasksGone(ctx, r.cli, []swarm.Service{s}, r.o.Timeout)
}

func (r *rollout) auth(spec swarm.ServiceSpec) string {
	if r.o.RegistryAuth == nil {
		return ""
	}
	return r.o.RegistryAuth(spec.TaskTemplate.ContainerSpec.Image)
}

// fillIDs completes references that Convert could only name.
func (r *rollout) fillIDs(spec *swarm.ServiceSpec) {
	c := spec.TaskTemplate.ContainerSpec
	for _, ref := range c.Secrets {
		ref.SecretID = r.plan.have.secretID(ref.SecretName)
	}
	for _, ref := range c.Configs {
		ref.ConfigID = r.plan.have.configID(ref.ConfigName)
		if ref.Runtime != nil && c.Privileges != nil && c.Privileges.CredentialSpec != nil {
			c.Privileges.CredentialSpec.Config = ref.ConfigID
		}
	}
}

// cleanUp removes what the plan says is left over, once the stack is healthy without it.
func (r *rollout) cleanUp(ctx context.Context) error {
	have := &state{}
	for _, c := range r.plan.Changes {
		if c.Action != Delete {
			continue
		}
		switch c.Kind {
		case KindService:
			if err := r.remove(ctx, swarm.Service{ID: c.id, Spec: swarm.ServiceSpec{Annotations: swarm.Annotations{Name: c.Name}}}); err != nil {
				return err
			}
			r.emit(Event{Kind: KindService, Name: r.plan.want.Short(c.Name), Action: Delete, Phase: Removed})
		case KindNetwork:
			have.networks = append(have.networks, network.Summary{ID: c.id, Name: c.Name})
		case KindSecret:
			have.secrets = append(have.secrets, swarm.Secret{ID: c.id, Spec: swarm.SecretSpec{Annotations: swarm.Annotations{Name: c.Name}}})
		case KindConfig:
			have.configs = append(have.configs, swarm.Config{ID: c.id, Spec: swarm.ConfigSpec{Annotations: swarm.Annotations{Name: c.Name}}})
		}
	}
	return removeRest(ctx, r.cli, have, false, func(kind Kind, name string) {
		r.emit(Event{Kind: kind, Name: r.plan.want.Short(name), Action: Delete, Phase: Removed})
	})
}
