package compose

import (
	"cmp"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/swarm"
)

// digestIterations make it slow to guess a weak secret from the eight digits of its name, and cost a deploy about 1 ms a
// secret.
const digestIterations = 5000

// maxObjectName is Swarm's limit for names of secrets and configs.
const maxObjectName = 64

// object is a secret or a config as services refer to it.
type object struct{ name string }

func (c *converter) convertSecrets() (map[string]object, error) {
	out := map[string]object{}
	used := c.usedFiles(func(s types.ServiceConfig) (names []string) {
		for _, r := range s.Secrets {
			names = append(names, r.Source)
		}
		return names
	})
	for _, key := range slices.Sorted(maps.Keys(used)) {
		def, ok := c.project.Secrets[key]
		if !ok {
			continue // the reference reports it, with its service
		}
		if bool(def.External) {
			out[key] = object{cmp.Or(def.Name, key)}
			c.stack.ExternalSecrets = append(c.stack.ExternalSecrets, out[key].name)
			continue
		}
		spec := swarm.SecretSpec{Annotations: swarm.Annotations{Labels: c.labels(def.Labels)}}
		if def.TemplateDriver != "" {
			spec.Templating = &swarm.Driver{Name: def.TemplateDriver}
		}
		var err error
		if def.Driver != "" { // the driver supplies the data
			spec.Driver = &swarm.Driver{Name: def.Driver, Options: def.DriverOpts}
			spec.Name = cmp.Or(def.Name, c.scoped(key))
		} else if spec.Data, err = c.data("secrets."+key, types.FileObjectConfig(def)); err != nil {
			return nil, err
		} else if len(spec.Data) == 0 || len(spec.Data) >= 512000 {
			return nil, fmt.Errorf("secrets.%s: secret data must be larger than 0 and less than 512000 bytes", key)
		} else if spec.Name, err = c.contentName("secrets."+key, key, def.Name, spec.Data, spec.Labels); err != nil {
			return nil, err
		}
		out[key] = object{spec.Name}
		c.stack.Secrets = append(c.stack.Secrets, spec)
	}
	return out, nil
}

func (c *converter) convertConfigs() (map[string]object, error) {
	out := map[string]object{}
	used := c.usedFiles(func(s types.ServiceConfig) (names []string) {
		for _, r := range s.Configs {
			names = append(names, r.Source)
		}
		if s.CredentialSpec != nil && s.CredentialSpec.Config != "" {
			names = append(names, s.CredentialSpec.Config)
		}
		return names
	})
	for _, key := range slices.Sorted(maps.Keys(used)) {
		def, ok := c.project.Configs[key]
		if !ok {
			continue // the reference reports it, with its service
		}
		if bool(def.External) {
			out[key] = object{cmp.Or(def.Name, key)}
			c.stack.ExternalConfigs = append(c.stack.ExternalConfigs, out[key].name)
			continue
		}
		spec := swarm.ConfigSpec{Annotations: swarm.Annotations{Labels: c.labels(def.Labels)}}
		if def.TemplateDriver != "" {
			spec.Templating = &swarm.Driver{Name: def.TemplateDriver}
		}
		var err error
		if spec.Data, err = c.data("configs."+key, types.FileObjectConfig(def)); err != nil {
			return nil, err
		}
		if len(spec.Data) >= 1024000 {
			return nil, fmt.Errorf("configs.%s: config data must be less than 1024000 bytes", key)
		}
		if spec.Name, err = c.contentName("configs."+key, key, def.Name, spec.Data, spec.Labels); err != nil {
			return nil, err
		}
		out[key] = object{spec.Name}
		c.stack.Configs = append(c.stack.Configs, spec)
	}
	return out, nil
}

// usedFiles are the secrets or configs that a service of the project refers to: the others are not made.
func (c *converter) usedFiles(of func(types.ServiceConfig) []string) map[string]bool {
	used := map[string]bool{}
	for _, s := range c.project.Services {
		for _, name := range of(s) {
			used[name] = true
		}
	}
	return used
}

// data is the content that a definition points to.
func (c *converter) data(key string, def types.FileObjectConfig) ([]byte, error) {
	switch {
	case def.File != "":
		b, err := os.ReadFile(def.File)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		return b, nil
	case def.Environment != "":
		v, ok := c.project.Environment[def.Environment]
		if !ok {
			return nil, fmt.Errorf("%s: environment variable %s is not set", key, def.Environment)
		}
		return []byte(v), nil
	}
	return []byte(def.Content), nil
}

// contentName is stack_name-<digest> unless the file gives the object a name of its own. The digest is salted with stack
// and name, and kept in a label in either case.
func (c *converter) contentName(path, key, name string, data []byte, labels map[string]string) (string, error) {
	sum, err := pbkdf2.Key(sha256.New, string(data), []byte(c.stack.Name+"\x00"+path), digestIterations, 4)
	if err != nil {
		return "", fmt.Errorf("%s: digest: %w", path, err)
	}
	labels[LabelContent] = hex.EncodeToString(sum)
	// compose-go fills in the name that docker compose would use.
	if name != "" && name != c.scoped(key) {
		return name, nil
	}
	name = c.scoped(key)
	if limit := maxObjectName - 1 - 2*len(sum); len(name) > limit {
		return "", fmt.Errorf("%s: the name %q is longer than %d characters", path, name, limit)
	}
	return name + "-" + labels[LabelContent], nil
}

func (c *converter) secretReferences(s types.ServiceConfig) ([]*swarm.SecretReference, error) {
	var out []*swarm.SecretReference
	for _, r := range s.Secrets {
		o, ok := c.secrets[r.Source]
		if !ok {
			return nil, fmt.Errorf("secrets: %q is not defined", r.Source)
		}
		file := target(r.Source, secretPath(r.Target), r.UID, r.GID, r.Mode)
		out = append(out, &swarm.SecretReference{SecretName: o.name, File: &file})
	}
	slices.SortFunc(out, func(a, b *swarm.SecretReference) int {
		return cmp.Or(strings.Compare(a.SecretName, b.SecretName), strings.Compare(a.File.Name, b.File.Name))
	})
	return out, nil
}

func (c *converter) configReferences(s types.ServiceConfig) ([]*swarm.ConfigReference, error) {
	var out []*swarm.ConfigReference
	for _, r := range s.Configs {
		o, ok := c.configs[r.Source]
		if !ok {
			return nil, fmt.Errorf("configs: %q is not defined", r.Source)
		}
		file := swarm.ConfigReferenceFileTarget(target("/"+r.Source, r.Target, r.UID, r.GID, r.Mode))
		out = append(out, &swarm.ConfigReference{ConfigName: o.name, File: &file})
	}
	if s.CredentialSpec != nil && s.CredentialSpec.Config != "" {
		o, ok := c.configs[s.CredentialSpec.Config]
		if !ok {
			return nil, fmt.Errorf("credential_spec.config: %q is not defined", s.CredentialSpec.Config)
		}
		out = append(out, &swarm.ConfigReference{ConfigName: o.name, Runtime: &swarm.ConfigReferenceRuntimeTarget{}})
	}
	slices.SortStableFunc(out, func(a, b *swarm.ConfigReference) int { return strings.Compare(a.ConfigName, b.ConfigName) })
	return out, nil
}
