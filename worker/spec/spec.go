// Package spec turns a task into the container that runs it. It is pure: tables test it, and what it decides is the
// same as what dockerd's own Swarm executor decides (moby's daemon/cluster/executor/container), with the
// settings of package extra laid over it. The image, networks and secret files that it names are made by others.
package spec

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/go-connections/nat"

	"orch/internal/bus"
	"orch/internal/extra"
	"orch/internal/template"
	"orch/worker/engine"
)

// Labels that tell a task's container from others. They are Swarm's, and what the agent finds its containers by.
const (
	LabelNode        = "com.docker.swarm.node.id"
	LabelService     = "com.docker.swarm.service.id"
	LabelServiceName = "com.docker.swarm.service.name"
	LabelTaskMark    = "com.docker.swarm.task"
	LabelTask        = "com.docker.swarm.task.id"
	LabelTaskName    = "com.docker.swarm.task.name"
)

// Place is what the node contributes to a task's container.
type Place struct {
	Node swarm.NodeDescription
	// Image is what the engine knows the task's image by; empty: as the task does.
	Image string
	// Networks are the engine's names of the task's networks, by the cluster's ID.
	Networks map[string]string
	// DNS are the resolvers of a task that is on a network of the cluster.
	DNS []string
	// Files are secrets and configs, as files of the node to be mounted.
	Files []mount.Mount
}

// Task is a task's container as specified, its templates expanded.
type Task struct {
	*bus.Task
	Spec  *swarm.ContainerSpec
	Extra extra.Extra
}

// Parse checks a task and expands its templates.
func Parse(t *bus.Task, node swarm.NodeDescription) (Task, error) {
	spec := t.Task.Spec.ContainerSpec
	if spec == nil {
		return Task{}, errors.New("unsupported runtime")
	}
	if spec.Image == "" {
		return Task{}, errors.New("dockerexec: image required")
	}
	if err := checkMounts(spec.Mounts); err != nil {
		return Task{}, err
	}
	e, err := extra.FromLabels(spec.Labels)
	if err != nil {
		return Task{}, err
	}
	expanded, err := template.For(t, node).Spec(spec)
	if err != nil {
		return Task{}, err
	}
	return Task{Task: t, Spec: expanded, Extra: e}, nil
}

// Container is the container that runs the task on a node.
func (t Task) Container(p Place) (engine.Container, error) {
	c := engine.Container{Name: t.Name, Config: t.config(), Host: t.host(p)}
	if p.Image != "" {
		c.Config.Image = p.Image
	}
	t.Extra.Apply(c.Config, c.Host)
	var err error
	if c.Networks, err = t.endpoints(p.Networks); err != nil {
		return engine.Container{}, err
	}
	if t.Extra.MacAddress != "" && len(c.Networks) > 0 {
		return engine.Container{}, errors.New("a MAC address cannot be chosen on a network of the cluster: it is made from the task's address")
	}
	return c, nil
}

// Image is the image's name as dockerd wants it, with a tag.
func (t Task) Image() string {
	ref, err := reference.ParseNormalizedNamed(t.Spec.Image)
	if err != nil {
		return t.Spec.Image
	}
	return reference.FamiliarString(reference.TagNameOnly(ref))
}

func (t Task) config() *container.Config {
	c := &container.Config{
		Labels: t.labels(), StopSignal: t.Spec.StopSignal, Tty: t.Spec.TTY, OpenStdin: t.Spec.OpenStdin,
		User: t.Spec.User, Env: append(t.Spec.Env, genericEnv(t.GenericResources)...), Hostname: t.Spec.Hostname,
		WorkingDir: t.Spec.Dir, Image: t.Image(), ExposedPorts: nat.PortSet{}, Healthcheck: t.Spec.Healthcheck,
	}
	for port := range t.bindings() {
		c.ExposedPorts[port] = struct{}{}
	}
	if len(t.Spec.Command) > 0 { // the whole invocation, in place of the image's
		c.Entrypoint, c.Cmd = t.Spec.Command, t.Spec.Args
	} else if len(t.Spec.Args) > 0 {
		c.Cmd = t.Spec.Args
	}
	return c
}

// labels are the spec's, then the task's own, then Swarm's, which nobody overrides.
func (t Task) labels() map[string]string {
	out := maps.Clone(t.Spec.Labels)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, t.Labels)
	maps.Copy(out, map[string]string{
		LabelNode: t.NodeID, LabelService: t.ServiceID, LabelServiceName: t.ServiceName,
		LabelTaskMark: "", LabelTask: t.ID, LabelTaskName: t.Name,
	})
	return out
}

// genericEnv tells the process which generic resources it was given: DOCKER_RESOURCE_GPU=UUID-1,UUID-2.
func genericEnv(resources []swarm.GenericResource) []string {
	var kinds []string
	values := map[string][]string{}
	add := func(kind, value string) {
		if values[kind] == nil {
			kinds = append(kinds, kind)
		}
		values[kind] = append(values[kind], value)
	}
	for _, r := range resources {
		if n := r.NamedResourceSpec; n != nil {
			add(n.Kind, n.Value)
		}
		if d := r.DiscreteResourceSpec; d != nil {
			add(d.Kind, strconv.FormatInt(d.Value, 10))
		}
	}
	var env []string
	for _, kind := range kinds {
		env = append(env, "DOCKER_RESOURCE_"+strings.ToUpper(kind)+"="+strings.Join(values[kind], ","))
	}
	return env
}

// bindings are the ports that dockerd publishes on the host itself.
func (t Task) bindings() nat.PortMap {
	out := nat.PortMap{}
	if t.Endpoint == nil {
		return out
	}
	for _, p := range t.Endpoint.Ports {
		if p.PublishMode != swarm.PortConfigPublishModeHost {
			continue
		}
		protocol := p.Protocol
		if protocol == "" {
			protocol = swarm.PortConfigProtocolTCP
		}
		var binding nat.PortBinding
		if p.PublishedPort != 0 {
			binding.HostPort = strconv.Itoa(int(p.PublishedPort))
		}
		port := nat.Port(fmt.Sprintf("%d/%s", p.TargetPort, protocol))
		out[port] = append(out[port], binding)
	}
	return out
}

// checkMounts refuses what the engine would take for something else: a volume with an absolute
// source is a bind mount to it, and the other way round. Texts are Swarm's.
func checkMounts(mounts []mount.Mount) error {
	for _, m := range mounts {
		if !filepath.IsAbs(m.Target) && m.Type != mount.TypeNamedPipe {
			return fmt.Errorf("invalid mount target, must be an absolute path: %s", m.Target)
		}
		switch m.Type {
		case mount.TypeBind:
			if !filepath.IsAbs(m.Source) {
				return fmt.Errorf("invalid bind mount source, must be an absolute path: %s", m.Source)
			}
		case mount.TypeVolume:
			if filepath.IsAbs(m.Source) {
				return fmt.Errorf("invalid volume mount source, must not be an absolute path: %s", m.Source)
			}
		case mount.TypeTmpfs:
			if m.Source != "" {
				return errors.New("invalid tmpfs source, source must be empty")
			}
		case mount.TypeNamedPipe:
			if m.Source == "" {
				return errors.New("invalid npipe source, source must not be empty")
			}
		case mount.TypeImage:
		default:
			return fmt.Errorf("invalid mount type: %s", m.Type)
		}
	}
	return nil
}
