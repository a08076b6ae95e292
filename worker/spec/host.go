package spec

import (
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"
)

func (t Task) host(p Place) *container.HostConfig {
	h := &container.HostConfig{
		Resources: t.resources(), GroupAdd: t.Spec.Groups, PortBindings: t.bindings(), Mounts: t.mounts(p.Files),
		ReadonlyRootfs: t.Spec.ReadOnly, Isolation: t.Spec.Isolation, Init: t.Spec.Init, Sysctls: t.Spec.Sysctls,
		CapAdd: t.Spec.CapabilityAdd, CapDrop: t.Spec.CapabilityDrop, OomScoreAdj: int(t.Spec.OomScoreAdj),
		SecurityOpt: securityOpt(t.Spec.Privileges), ExtraHosts: extraHosts(t.Spec.Hosts), NetworkMode: t.networkMode(),
	}
	if d := t.Task.Task.Spec.LogDriver; d != nil {
		h.LogConfig = container.LogConfig{Type: d.Name, Config: d.Options}
	}
	if len(t.clusterNetworks()) > 0 {
		h.DNS = append(h.DNS, p.DNS...) // first: only it knows the cluster's names
	}
	if d := t.Spec.DNSConfig; d != nil {
		h.DNS = append(h.DNS, d.Nameservers...)
		h.DNSSearch, h.DNSOptions = d.Search, d.Options
	}
	return h
}

// resources are limits only: a reservation is the scheduler's business.
func (t Task) resources() container.Resources {
	var r container.Resources
	r.Ulimits = append([]*container.Ulimit{}, t.Spec.Ulimits...) // never null, as in Swarm
	if req := t.Task.Task.Spec.Resources; req != nil && req.Limits != nil {
		r.Memory, r.NanoCPUs = max(0, req.Limits.MemoryBytes), max(0, req.Limits.NanoCPUs)
		if pids := req.Limits.Pids; pids > 0 {
			r.PidsLimit = &pids
		}
	}
	return r
}

func (t Task) mounts(files []mount.Mount) []mount.Mount {
	out := make([]mount.Mount, 0, len(t.Spec.Mounts)+len(files))
	for _, m := range t.Spec.Mounts {
		m.Consistency = "" // Swarm does not carry it
		out = append(out, m)
	}
	return append(out, files...)
}

// extraHosts turns lines of /etc/hosts ("IP name alias…") into Docker's name:IP. Aliases are left out, as in Swarm.
func extraHosts(lines []string) []string {
	var out []string
	for _, line := range lines {
		if f := strings.Fields(line); len(f) > 1 {
			out = append(out, f[1]+":"+f[0])
		}
	}
	return out
}

func securityOpt(p *swarm.Privileges) []string {
	if p == nil {
		return nil
	}
	var out []string
	add := func(prefix, value string) {
		if value != "" {
			out = append(out, prefix+value)
		}
	}
	if c := p.CredentialSpec; c != nil {
		add("credentialspec=file://", c.File)
		add("credentialspec=registry://", c.Registry)
		add("credentialspec=config://", c.Config)
	}
	if s := p.SELinuxContext; s != nil {
		if s.Disable {
			out = append(out, "label=disable")
		}
		add("label=user:", s.User)
		add("label=role:", s.Role)
		add("label=level:", s.Level)
		add("label=type:", s.Type)
	}
	if s := p.Seccomp; s != nil {
		switch s.Mode {
		case swarm.SeccompModeUnconfined:
			out = append(out, "seccomp=unconfined")
		case swarm.SeccompModeCustom:
			out = append(out, "seccomp="+string(s.Profile))
		case swarm.SeccompModeDefault:
		}
	}
	if p.AppArmor != nil && p.AppArmor.Mode == swarm.AppArmorModeDisabled {
		out = append(out, "apparmor=unconfined")
	}
	if p.NoNewPrivileges {
		out = append(out, "no-new-privileges=true")
	}
	return out
}
