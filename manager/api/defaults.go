package api

import (
	"cmp"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"
)

// normalise fills in what dockerd's conversion to and from Swarm's own types
// fills in: nothing else of a spec changes between being sent and being read.
func normalise(spec *swarm.ServiceSpec) {
	spec.Labels = orEmpty(spec.Labels)
	t := &spec.TaskTemplate
	if c := t.ContainerSpec; c != nil {
		if t.Runtime == "" {
			t.Runtime = swarm.RuntimeContainer
		}
		if c.Isolation == "" {
			c.Isolation = container.IsolationDefault
		}
		for i := range c.Mounts {
			if b := c.Mounts[i].BindOptions; b != nil && b.Propagation == "" {
				b.Propagation = mount.PropagationRPrivate
			}
		}
	}
	if p := t.RestartPolicy; p != nil && p.Condition == "" {
		p.Condition = swarm.RestartPolicyConditionAny
	}
	one := uint64(1)
	switch m := &spec.Mode; {
	case m.Global != nil, m.GlobalJob != nil:
	case m.ReplicatedJob != nil:
		if m.ReplicatedJob.MaxConcurrent == nil {
			m.ReplicatedJob.MaxConcurrent = &one
		}
		if m.ReplicatedJob.TotalCompletions == nil {
			m.ReplicatedJob.TotalCompletions = m.ReplicatedJob.MaxConcurrent
		}
	case m.Replicated == nil:
		m.Replicated = &swarm.ReplicatedService{Replicas: &one}
	case m.Replicated.Replicas == nil:
		m.Replicated.Replicas = &one
	}
	for _, u := range []*swarm.UpdateConfig{spec.UpdateConfig, spec.RollbackConfig} {
		if u == nil {
			continue
		}
		if u.FailureAction == "" {
			u.FailureAction = swarm.UpdateFailureActionPause
		}
		if u.Order == "" {
			u.Order = swarm.UpdateOrderStopFirst
		}
	}
	normaliseEndpoint(spec.EndpointSpec)
	normaliseFiles(t.ContainerSpec)
}

func normaliseEndpoint(e *swarm.EndpointSpec) {
	if e == nil {
		return
	}
	if e.Mode == "" {
		e.Mode = swarm.ResolutionModeVIP
	}
	for i := range e.Ports {
		if e.Ports[i].Protocol == "" {
			e.Ports[i].Protocol = swarm.PortConfigProtocolTCP
		}
		if e.Ports[i].PublishMode == "" {
			e.Ports[i].PublishMode = swarm.PortConfigPublishModeIngress
		}
	}
}

// normaliseFiles gives files that name no owner to root.
func normaliseFiles(c *swarm.ContainerSpec) {
	if c == nil {
		return
	}
	for _, s := range c.Secrets {
		if s != nil && s.File != nil {
			s.File.UID, s.File.GID = cmp.Or(s.File.UID, "0"), cmp.Or(s.File.GID, "0")
		}
	}
	for _, c := range c.Configs {
		if c != nil && c.File != nil {
			c.File.UID, c.File.GID = cmp.Or(c.File.UID, "0"), cmp.Or(c.File.GID, "0")
		}
	}
}

// Swarm's defaults for what a spec leaves out.
// Source: swarmkit, api/defaults/service.go.
const (
	stopGracePeriod = 10 * time.Second
	restartDelay    = 5 * time.Second
	updateMonitor   = 5 * time.Second
)

// withDefaults is a spec with everything that it leaves to Swarm written out.
func withDefaults(spec swarm.ServiceSpec) swarm.ServiceSpec {
	t := &spec.TaskTemplate
	if t.ContainerSpec != nil {
		c := *t.ContainerSpec
		t.ContainerSpec = &c
		if c.StopGracePeriod == nil {
			grace := stopGracePeriod
			t.ContainerSpec.StopGracePeriod = &grace
		}
		if c.DNSConfig == nil {
			t.ContainerSpec.DNSConfig = &swarm.DNSConfig{}
		}
	}
	t.Resources = resourcesWithDefaults(t.Resources)
	t.RestartPolicy = restartWithDefaults(t.RestartPolicy)
	if t.Placement == nil {
		t.Placement = &swarm.Placement{}
	}
	spec.UpdateConfig = updateWithDefaults(spec.UpdateConfig)
	spec.RollbackConfig = updateWithDefaults(spec.RollbackConfig)
	if spec.EndpointSpec == nil {
		spec.EndpointSpec = &swarm.EndpointSpec{Mode: swarm.ResolutionModeVIP}
	}
	return spec
}

func resourcesWithDefaults(r *swarm.ResourceRequirements) *swarm.ResourceRequirements {
	if r == nil {
		return &swarm.ResourceRequirements{Limits: &swarm.Limit{}, Reservations: &swarm.Resources{}}
	}
	return r
}

func restartWithDefaults(p *swarm.RestartPolicy) *swarm.RestartPolicy {
	c := swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny}
	if p != nil {
		c = *p
	}
	if c.Delay == nil {
		delay := restartDelay
		c.Delay = &delay
	}
	if c.MaxAttempts == nil {
		none := uint64(0)
		c.MaxAttempts = &none
	}
	return &c
}

func updateWithDefaults(u *swarm.UpdateConfig) *swarm.UpdateConfig {
	c := swarm.UpdateConfig{Parallelism: 1, FailureAction: swarm.UpdateFailureActionPause, Order: swarm.UpdateOrderStopFirst}
	if u != nil {
		c = *u
	}
	if c.Monitor == 0 {
		c.Monitor = updateMonitor
	}
	return &c
}
