package compose

import (
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/versions"
)

// downgrade takes out of the wanted specs what an old Swarm would drop without a word, so that an unchanged file stays an
// empty plan, and says so. orch keeps every field, whatever version its engine has.
func (p *Plan) downgrade() {
	if p.have.orch || p.have.api == "" {
		return
	}
	for i := range p.want.Services {
		s := &p.want.Services[i]
		s.Spec = clone(s.Spec)
		c := s.Spec.TaskTemplate.ContainerSpec
		var lost []string
		before := func(version, what string, there bool, drop func()) {
			if there && versions.LessThan(p.have.api, version) {
				drop()
				lost = append(lost, what)
			}
		}
		before("1.44", "healthcheck.start_interval", c.Healthcheck != nil && c.Healthcheck.StartInterval != 0, func() { c.Healthcheck.StartInterval = 0 })
		before("1.46", "oom_score_adj", c.OomScoreAdj != 0, func() { c.OomScoreAdj = 0 })
		if pr := c.Privileges; pr != nil {
			before("1.46", "security_opt", pr.NoNewPrivileges || pr.Seccomp != nil || pr.AppArmor != nil, func() {
				pr.NoNewPrivileges, pr.Seccomp, pr.AppArmor = false, nil, nil
			})
		}
		for j := range c.Mounts {
			m := &c.Mounts[j]
			if b := m.BindOptions; b != nil {
				if versions.LessThan(p.have.api, "1.42") {
					b.CreateMountpoint = false // the default, not worth a warning
				}
				before("1.44", m.Target+": bind.recursive", b.ReadOnlyNonRecursive || b.ReadOnlyForceRecursive, func() {
					b.ReadOnlyNonRecursive, b.ReadOnlyForceRecursive = false, false
				})
			}
			if v := m.VolumeOptions; v != nil {
				before("1.45", m.Target+": volume.subpath", v.Subpath != "", func() { v.Subpath = "" })
			}
			if t := m.TmpfsOptions; t != nil {
				before("1.46", m.Target+": tmpfs options", len(t.Options) > 0, func() { t.Options = nil })
			}
		}
		if len(lost) > 0 {
			p.Warnings = append(p.Warnings, Warning{Key: "services." + s.Key, Text: fmt.Sprintf("the server's Swarm (API %s) lacks and ignores: %s", p.have.api, strings.Join(lost, ", "))})
		}
	}
}
