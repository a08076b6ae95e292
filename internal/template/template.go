// Package template expands Swarm's templates: {{.Service.Name}} and the like in a container's host name, environment and
// mounts, and in the content of secrets and configs that ask for it. It is pure; what a template may see is what it is given.
package template

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
)

// Context is what a template sees.
type Context struct {
	Service struct {
		ID     string
		Name   string
		Labels map[string]string
	}
	Node struct {
		ID       string
		Hostname string
		Platform struct {
			Architecture string
			OS           string
		}
	}
	Task struct {
		ID   string
		Name string
		// Slot is the node's ID for a task of a global service.
		Slot string
	}
}

// For is the context of a task on a node.
func For(t *bus.Task, node swarm.NodeDescription) *Context {
	var c Context
	c.Service.ID, c.Service.Name, c.Service.Labels = t.ServiceID, t.ServiceName, t.ServiceLabels
	c.Node.ID, c.Node.Hostname = t.NodeID, node.Hostname
	c.Node.Platform.Architecture, c.Node.Platform.OS = node.Platform.Architecture, node.Platform.OS
	c.Task.ID, c.Task.Name, c.Task.Slot = t.ID, t.Name, strconv.Itoa(t.Slot)
	if t.Slot == 0 {
		c.Task.Slot = t.NodeID
	}
	return &c
}

// Expand expands one text.
func (c *Context) Expand(s string) (string, error) { return c.expand(s, nil) }

// expand leaves text without a template alone: parsing it would cost more than creating the rest of the container.
func (c *Context) expand(s string, funcs template.FuncMap) (string, error) {
	if !strings.Contains(s, "{{") {
		return s, nil
	}
	t, err := template.New("expansion").Option("missingkey=error").
		Funcs(template.FuncMap{"join": join}).Funcs(funcs).Parse(s)
	if err != nil {
		return s, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, c); err != nil {
		return s, err
	}
	return out.String(), nil
}

func join(separator string, parts ...string) string { return strings.Join(parts, separator) }

// Spec is a copy of a container's spec with its host name, environment and mounts expanded. Error texts are Swarm's.
func (c *Context) Spec(spec *swarm.ContainerSpec) (*swarm.ContainerSpec, error) {
	out := *spec
	var err error
	if out.Hostname, err = c.Expand(spec.Hostname); err != nil {
		return nil, fmt.Errorf("expanding hostname failed: %w", err)
	}
	out.Env = slices.Clone(spec.Env)
	for i, v := range out.Env {
		name, value, set := strings.Cut(v, "=")
		if !set {
			continue
		}
		if value, err = c.Expand(value); err != nil {
			return nil, fmt.Errorf("expanding env failed: expanding env %q: %w", v, err)
		}
		out.Env[i] = name + "=" + value
	}
	out.Mounts = slices.Clone(spec.Mounts)
	for i := range out.Mounts {
		if err := c.mount(&out.Mounts[i]); err != nil {
			return nil, fmt.Errorf("expanding mounts failed: %w", err)
		}
	}
	return &out, nil
}

func (c *Context) mount(m *mount.Mount) (err error) {
	if m.Source, err = c.Expand(m.Source); err != nil {
		return fmt.Errorf("expanding mount source %q: %w", m.Source, err)
	}
	if m.VolumeOptions == nil {
		return nil
	}
	o := *m.VolumeOptions
	m.VolumeOptions = &o // the spec is shared
	if o.Labels, err = c.values(o.Labels); err != nil {
		return fmt.Errorf("expanding volume labels: %w", err)
	}
	if o.DriverConfig != nil {
		d := *o.DriverConfig
		o.DriverConfig = &d
		if d.Options, err = c.values(d.Options); err != nil {
			return fmt.Errorf("expanding volume driver options: %w", err)
		}
	}
	return nil
}

func (c *Context) values(m map[string]string) (map[string]string, error) {
	if m == nil {
		return nil, nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		expanded, err := c.Expand(v)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", k, err)
		}
		out[k] = expanded
	}
	return out, nil
}

// Payload expands the content of a secret or config, which may also name the task's environment (already expanded), and
// its secrets and configs by the file name they have in the container.
func (c *Context) Payload(data []byte, env []string, secrets, configs map[string][]byte) ([]byte, error) {
	out, err := c.expand(string(data), template.FuncMap{
		"env": func(name string) (string, error) {
			for _, v := range slices.Backward(env) {
				if value, ok := strings.CutPrefix(v, name+"="); ok {
					return value, nil
				}
			}
			return "", nil
		},
		"secret": lookup(secrets, "secret"),
		"config": lookup(configs, "config"),
	})
	if err != nil {
		return nil, fmt.Errorf("expand the content: %w", err)
	}
	return []byte(out), nil
}

func lookup(in map[string][]byte, what string) func(string) (string, error) {
	return func(target string) (string, error) {
		data, ok := in[target]
		if !ok {
			return "", fmt.Errorf("%s target %s not found", what, target)
		}
		return string(data), nil
	}
}
