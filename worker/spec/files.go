package spec

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/internal/template"
	"orch/worker/files"
)

// secretsDir is where a secret is found that does not name a whole path.
const secretsDir = "/run/secrets"

// Needs are the IDs of the secrets and configs that the task mounts.
func (t Task) Needs() (secrets, configs []string) {
	for _, r := range t.Spec.Secrets {
		secrets = append(secrets, r.SecretID)
	}
	for _, r := range t.Spec.Configs {
		configs = append(configs, r.ConfigID)
	}
	return secrets, configs
}

// Files are the task's secrets and configs as files in its container, with templates expanded.
func (t Task) Files(node swarm.NodeDescription, secrets map[string]bus.Secret, configs map[string]bus.Config) ([]files.File, error) {
	x := expansion{context: template.For(t.Task, node), env: t.Spec.Env, secrets: map[string][]byte{}, configs: map[string][]byte{}}
	for _, r := range t.Spec.Secrets {
		if r.File != nil {
			x.secrets[r.File.Name] = secrets[r.SecretID].Data
		}
	}
	for _, r := range t.Spec.Configs {
		if r.File != nil {
			x.configs[r.File.Name] = configs[r.ConfigID].Data
		}
	}
	var out []files.File
	for _, r := range t.Spec.Secrets {
		s, ok := secrets[r.SecretID]
		if !ok {
			return nil, fmt.Errorf("secret %s is not on this node", r.SecretName)
		}
		target := swarm.SecretReferenceFileTarget{Name: r.SecretName, UID: "0", GID: "0", Mode: 0o444}
		if r.File != nil {
			target = *r.File
		}
		f, err := x.file("secret "+r.SecretName, absolute(secretsDir, target.Name), target.UID, target.GID, target.Mode, s.Data, s.Templating)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	for _, r := range t.Spec.Configs {
		c, ok := configs[r.ConfigID]
		switch {
		case !ok:
			return nil, fmt.Errorf("config %s is not on this node", r.ConfigName)
		case r.File == nil: // for the engine itself (a credential spec), not a file
			continue
		}
		f, err := x.file("config "+r.ConfigName, absolute("/", r.File.Name), r.File.UID, r.File.GID, r.File.Mode, c.Data, c.Templating)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

func absolute(dir, name string) string {
	if filepath.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(dir, name)
}

// expansion is what the content of a task's secrets and configs may refer to.
type expansion struct {
	context          *template.Context
	env              []string
	secrets, configs map[string][]byte
}

func (x expansion) file(what, target, uid, gid string, mode os.FileMode, data []byte, templating bool) (files.File, error) {
	f := files.File{Target: target, Data: data, Mode: mode}
	var err error
	if f.UID, err = owner(uid); err != nil {
		return f, fmt.Errorf("%s: %w", what, err)
	}
	if f.GID, err = owner(gid); err != nil {
		return f, fmt.Errorf("%s: %w", what, err)
	}
	if templating {
		if f.Data, err = x.context.Payload(data, x.env, x.secrets, x.configs); err != nil {
			return f, fmt.Errorf("%s: %w", what, err)
		}
	}
	return f, nil
}

func owner(id string) (int, error) {
	if id == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(id)
	if err != nil {
		return 0, fmt.Errorf("its owner %q is not a number", id)
	}
	return n, nil
}

// FileCount is how many files the task's secrets and configs are.
func (t Task) FileCount() int {
	n := len(t.Spec.Secrets)
	for _, r := range t.Spec.Configs {
		if r.File != nil {
			n++
		}
	}
	return n
}
