package compose

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
)

func (c *converter) container(s types.ServiceConfig, image string) (*swarm.ContainerSpec, error) {
	if image == "" {
		return nil, fmt.Errorf("neither image nor build is set")
	}
	mounts, err := c.mounts(s)
	if err != nil {
		return nil, err
	}
	health, err := healthcheck(s.HealthCheck)
	if err != nil {
		return nil, err
	}
	out := &swarm.ContainerSpec{
		Image: image, Labels: c.labels(s.Labels), Command: s.Entrypoint, Args: s.Command, Hostname: s.Hostname, Env: environment(s.Environment),
		Dir: s.WorkingDir, User: s.User, Groups: s.GroupAdd, Init: s.Init, StopSignal: s.StopSignal, TTY: s.Tty, OpenStdin: s.StdinOpen,
		ReadOnly: s.ReadOnly, Mounts: mounts, StopGracePeriod: duration(s.StopGracePeriod), Healthcheck: health, Hosts: hosts(s.ExtraHosts),
		Isolation: container.Isolation(s.Isolation), Sysctls: s.Sysctls, CapabilityAdd: capabilities(s.CapAdd), CapabilityDrop: capabilities(s.CapDrop),
		OomScoreAdj: s.OomScoreAdj,
	}
	if len(s.DNS) > 0 || len(s.DNSSearch) > 0 || len(s.DNSOpts) > 0 {
		out.DNSConfig = &swarm.DNSConfig{Nameservers: s.DNS, Search: s.DNSSearch, Options: s.DNSOpts}
	}
	for name, u := range s.Ulimits {
		limit := &container.Ulimit{Name: name, Soft: int64(u.Soft), Hard: int64(u.Hard)}
		if u.Single != 0 {
			limit.Soft, limit.Hard = int64(u.Single), int64(u.Single)
		}
		out.Ulimits = append(out.Ulimits, limit)
	}
	slices.SortFunc(out.Ulimits, func(a, b *container.Ulimit) int { return strings.Compare(a.Name, b.Name) })
	if out.Secrets, err = c.secretReferences(s); err != nil {
		return nil, err
	}
	if out.Configs, err = c.configReferences(s); err != nil {
		return nil, err
	}
	out.Privileges, _ = privileges(s)
	return out, nil
}

// environment sorts, as docker/cli does, so that the order in a map never restarts a task. A variable without a value
// was not set where the file was loaded, and is left out.
func environment(env types.MappingWithEquals) []string {
	var out []string
	for k, v := range env {
		if v != nil {
			out = append(out, k+"="+*v)
		}
	}
	slices.Sort(out)
	return out
}

// hosts writes "name:ip" as the "ip name" that Swarm has in /etc/hosts order.
func hosts(list types.HostsList) []string {
	var out []string
	for name, ips := range list {
		for _, ip := range ips {
			out = append(out, ip+" "+name)
		}
	}
	slices.Sort(out)
	return out
}

func healthcheck(h *types.HealthCheckConfig) (*container.HealthConfig, error) {
	if h == nil {
		return nil, nil
	}
	if h.Disable {
		if len(h.Test) > 0 && h.Test[0] != "NONE" {
			return nil, fmt.Errorf("healthcheck: test and disable cannot be set at the same time")
		}
		return &container.HealthConfig{Test: []string{"NONE"}}, nil
	}
	out := &container.HealthConfig{Test: h.Test}
	for _, d := range []struct {
		key  string
		from *types.Duration
		to   func(v types.Duration)
	}{
		{"interval", h.Interval, func(v types.Duration) { out.Interval = *duration(&v) }},
		{"timeout", h.Timeout, func(v types.Duration) { out.Timeout = *duration(&v) }},
		{"start_period", h.StartPeriod, func(v types.Duration) { out.StartPeriod = *duration(&v) }},
		{"start_interval", h.StartInterval, func(v types.Duration) { out.StartInterval = *duration(&v) }},
	} {
		if d.from == nil {
			continue
		}
		if *d.from < 0 {
			return nil, fmt.Errorf("healthcheck.%s: is negative", d.key)
		}
		d.to(*d.from)
	}
	if h.Retries != nil {
		out.Retries = int(*h.Retries)
	}
	return out, nil
}

// privileges splits security_opt into what Swarm has fields for and the rest.
func privileges(s types.ServiceConfig) (*swarm.Privileges, []string) {
	var p swarm.Privileges
	var rest []string
	se := func() *swarm.SELinuxContext {
		if p.SELinuxContext == nil {
			p.SELinuxContext = &swarm.SELinuxContext{}
		}
		return p.SELinuxContext
	}
	for _, o := range s.SecurityOpt {
		key, value, ok := strings.Cut(o, "=")
		if !ok {
			key, value, _ = strings.Cut(o, ":")
		}
		switch {
		case key == "no-new-privileges" && value != "false":
			p.NoNewPrivileges = true
		case key == "seccomp" && value == "unconfined":
			p.Seccomp = &swarm.SeccompOpts{Mode: swarm.SeccompModeUnconfined}
		case key == "apparmor" && value == "unconfined":
			p.AppArmor = &swarm.AppArmorOpts{Mode: swarm.AppArmorModeDisabled}
		case key == "label" && value == "disable":
			se().Disable = true
		case key == "label":
			field, v, _ := strings.Cut(value, ":")
			switch field {
			case "user":
				se().User = v
			case "role":
				se().Role = v
			case "type":
				se().Type = v
			case "level":
				se().Level = v
			default:
				rest = append(rest, o)
			}
		default:
			rest = append(rest, o)
		}
	}
	if cs := s.CredentialSpec; cs != nil {
		p.CredentialSpec = &swarm.CredentialSpec{Config: cs.Config, File: cs.File, Registry: cs.Registry}
	}
	if p.CredentialSpec == nil && p.SELinuxContext == nil && p.Seccomp == nil && p.AppArmor == nil && !p.NoNewPrivileges {
		return nil, rest
	}
	return &p, rest
}

// attachments puts the service on its networks, under its name in the file and its aliases.
func (c *converter) attachments(s types.ServiceConfig) ([]swarm.NetworkAttachmentConfig, error) {
	kind, _, _ := strings.Cut(s.NetworkMode, ":")
	switch kind {
	case "":
	case "host", "bridge":
		return []swarm.NetworkAttachmentConfig{{Target: s.NetworkMode}}, nil
	case "none":
		return nil, nil // extra.NetworkMode
	default:
		return nil, fmt.Errorf("network_mode: %q: tasks of two services need not be on one node; put both on a network", s.NetworkMode)
	}
	nets := s.Networks
	if len(nets) == 0 {
		nets = map[string]*types.ServiceNetworkConfig{"default": nil}
	}
	var out []swarm.NetworkAttachmentConfig
	for key, n := range nets {
		a := swarm.NetworkAttachmentConfig{Target: c.networkName(key)}
		if n != nil {
			a.Aliases = slices.Clone(n.Aliases)
			a.DriverOpts = n.DriverOpts
		}
		a.Aliases = append(a.Aliases, c.aliases[s.Name][key]...)
		if n.ServiceNameAliasEnabled() && container.NetworkMode(a.Target).IsUserDefined() {
			a.Aliases = append(a.Aliases, s.Name)
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b swarm.NetworkAttachmentConfig) int { return strings.Compare(a.Target, b.Target) })
	return out, nil
}

// target is where a secret or config appears, with Swarm's defaults: root's, readable by all.
func target(source, path, uid, gid string, mode *types.FileMode) swarm.SecretReferenceFileTarget {
	t := swarm.SecretReferenceFileTarget{Name: path, UID: uid, GID: gid, Mode: 0o444}
	if t.Name == "" {
		t.Name = source
	}
	if t.UID == "" {
		t.UID = "0"
	}
	if t.GID == "" {
		t.GID = "0"
	}
	if mode != nil {
		t.Mode = os.FileMode(*mode)
	}
	return t
}

// secretPath undoes compose-go's absolute default: Swarm puts a bare name below /run/secrets itself.
func secretPath(path string) string {
	if dir, name := filepath.Split(path); dir == "/run/secrets/" {
		return name
	}
	return path
}
