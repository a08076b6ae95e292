package compose

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
)

// Swarm's defaults, which a server may or may not have filled in (swarmkit, api/defaults).
const (
	defaultGrace   = 10 * time.Second
	defaultDelay   = 5 * time.Second
	defaultMonitor = 5 * time.Second
)

// normalise brings a spec to the form in which two that mean the same are equal: defaults filled in, names instead of
// ids, lists whose order has no meaning sorted. It returns a copy.
func normalise(s swarm.ServiceSpec, networkNames map[string]string) swarm.ServiceSpec {
	s = clone(s)
	t := &s.TaskTemplate
	if t.ContainerSpec == nil {
		t.ContainerSpec = &swarm.ContainerSpec{}
	}
	normaliseContainer(t.ContainerSpec)
	if t.Runtime == "" {
		t.Runtime = swarm.RuntimeContainer
	}
	if t.RestartPolicy == nil {
		t.RestartPolicy = &swarm.RestartPolicy{}
	}
	if t.RestartPolicy.Condition == "" {
		t.RestartPolicy.Condition = swarm.RestartPolicyConditionAny
	}
	fill(&t.RestartPolicy.Delay, defaultDelay)
	if len(t.Networks) == 0 {
		//lint:ignore SA1019 old clients still send it
		t.Networks = s.Networks
	}
	//lint:ignore SA1019 old clients still send it
	s.Networks = nil
	for i := range t.Networks {
		if name, ok := networkNames[t.Networks[i].Target]; ok {
			t.Networks[i].Target = name
		}
		slices.Sort(t.Networks[i].Aliases)
		t.Networks[i].Aliases = slices.Compact(t.Networks[i].Aliases)
	}
	if t.Placement != nil {
		slices.Sort(t.Placement.Constraints)
	}
	s.UpdateConfig, s.RollbackConfig = normaliseUpdate(s.UpdateConfig), normaliseUpdate(s.RollbackConfig)
	if s.Mode.ReplicatedJob != nil || s.Mode.GlobalJob != nil {
		s.UpdateConfig, s.RollbackConfig = nil, nil
	}
	normaliseMode(&s.Mode)
	normaliseEndpoint(&s)
	return s
}

func clone(s swarm.ServiceSpec) swarm.ServiceSpec {
	b, err := json.Marshal(s)
	if err != nil {
		return s // Docker's types always marshal
	}
	var c swarm.ServiceSpec
	if json.Unmarshal(b, &c) != nil {
		return s
	}
	return c
}

func normaliseContainer(c *swarm.ContainerSpec) {
	// Docker's client completes a name without a tag when it writes a service.
	if named, err := reference.ParseNormalizedNamed(c.Image); err == nil && reference.IsNameOnly(named) {
		c.Image += ":latest"
	}
	if c.Isolation == "" {
		c.Isolation = container.IsolationDefault
	}
	fill(&c.StopGracePeriod, defaultGrace)
	if c.Privileges != nil && c.Privileges.CredentialSpec != nil && *c.Privileges.CredentialSpec == (swarm.CredentialSpec{}) {
		c.Privileges.CredentialSpec = nil
	}
	c.CapabilityAdd, c.CapabilityDrop = capabilities(c.CapabilityAdd), capabilities(c.CapabilityDrop)
	for _, r := range c.Secrets {
		r.SecretID = ""
	}
	for _, r := range c.Configs {
		r.ConfigID = ""
	}
	if c.Privileges != nil && c.Privileges.CredentialSpec != nil && c.Privileges.CredentialSpec.Config != "" {
		c.Privileges.CredentialSpec.Config = "config" // an id; the runtime config reference has the name
	}
	slices.Sort(c.Hosts)
	slices.Sort(c.Groups)
}

// capabilities writes them as the API does: CAP_NET_ADMIN, sorted, each once.
func capabilities(list []string) []string {
	var caps []string
	for _, c := range list {
		c = strings.ToUpper(c)
		if c != "ALL" && !strings.HasPrefix(c, "CAP_") {
			c = "CAP_" + c
		}
		caps = append(caps, c)
	}
	slices.Sort(caps)
	return slices.Compact(caps)
}

func normaliseUpdate(u *swarm.UpdateConfig) *swarm.UpdateConfig {
	if u == nil {
		u = &swarm.UpdateConfig{Parallelism: 1}
	}
	if u.FailureAction == "" {
		u.FailureAction = swarm.UpdateFailureActionPause
	}
	if u.Monitor == 0 {
		u.Monitor = defaultMonitor
	}
	if u.Order == "" {
		u.Order = swarm.UpdateOrderStopFirst
	}
	return u
}

func normaliseMode(m *swarm.ServiceMode) {
	if *m == (swarm.ServiceMode{}) {
		m.Replicated = &swarm.ReplicatedService{}
	}
	if m.Replicated != nil {
		fill(&m.Replicated.Replicas, 1)
	}
	if m.ReplicatedJob != nil {
		fill(&m.ReplicatedJob.MaxConcurrent, 1)
		fill(&m.ReplicatedJob.TotalCompletions, *m.ReplicatedJob.MaxConcurrent)
	}
}

func normaliseEndpoint(s *swarm.ServiceSpec) {
	if s.EndpointSpec == nil {
		s.EndpointSpec = &swarm.EndpointSpec{}
	}
	if s.EndpointSpec.Mode == "" {
		s.EndpointSpec.Mode = swarm.ResolutionModeVIP
	}
	for i := range s.EndpointSpec.Ports {
		p := &s.EndpointSpec.Ports[i]
		if p.Protocol == "" {
			p.Protocol = swarm.PortConfigProtocolTCP
		}
		if p.PublishMode == "" {
			p.PublishMode = swarm.PortConfigPublishModeIngress
		}
	}
}

func fill[T any](to **T, v T) {
	if *to == nil {
		*to = &v
	}
}

func modeName(m swarm.ServiceMode) string {
	switch {
	case m.Global != nil:
		return "global"
	case m.ReplicatedJob != nil:
		return "replicated-job"
	case m.GlobalJob != nil:
		return "global-job"
	}
	return "replicated"
}
