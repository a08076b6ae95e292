package compose

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/swarm"
)

func mode(s types.ServiceConfig, d *types.DeployConfig) (swarm.ServiceMode, error) {
	replicas := d.Replicas
	if s.Scale != nil {
		replicas = s.Scale
	}
	if replicas != nil && *replicas < 0 {
		return swarm.ServiceMode{}, fmt.Errorf("deploy.replicas: %d is negative", *replicas)
	}
	n := uint64(1)
	if replicas != nil {
		n = uint64(*replicas)
	}
	switch d.Mode {
	case "", "replicated":
		return swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}}, nil
	case "replicated-job":
		return swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: &n, TotalCompletions: &n}}, nil
	case "global", "global-job":
		// compose-go sets replicas to 1 where scale is not given, so only another number is a contradiction.
		if replicas != nil && *replicas > 1 {
			return swarm.ServiceMode{}, fmt.Errorf("deploy.replicas: a %s service has one task per node; remove replicas", d.Mode)
		}
		if d.Mode == "global" {
			return swarm.ServiceMode{Global: &swarm.GlobalService{}}, nil
		}
		return swarm.ServiceMode{GlobalJob: &swarm.GlobalJob{}}, nil
	}
	return swarm.ServiceMode{}, fmt.Errorf("deploy.mode: %q is not one of replicated, global, replicated-job, global-job", d.Mode)
}

// restartPolicy is deploy's, else `restart:` in Swarm's words, else Swarm's default; a service that others wait to
// complete is not restarted unless its file says so, as with docker compose.
func restartPolicy(s types.ServiceConfig, d *types.DeployConfig, oneShot bool) (*swarm.RestartPolicy, error) {
	if p := d.RestartPolicy; p != nil {
		out := &swarm.RestartPolicy{MaxAttempts: p.MaxAttempts, Delay: duration(p.Delay), Window: duration(p.Window)}
		switch p.Condition {
		case "", "any", "none", "on-failure":
			out.Condition = swarm.RestartPolicyCondition(p.Condition)
		case "always", "unless-stopped":
			out.Condition = swarm.RestartPolicyConditionAny
		default:
			return nil, fmt.Errorf("deploy.restart_policy.condition: %q is not one of any, on-failure, none", p.Condition)
		}
		return out, nil
	}
	condition, attempts, _ := strings.Cut(s.Restart, ":")
	switch condition {
	case "":
		if oneShot {
			return &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionNone}, nil
		}
		return nil, nil
	case "no":
		return &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionNone}, nil
	case "always", "unless-stopped":
		return &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny}, nil
	case "on-failure":
		out := &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionOnFailure}
		if attempts != "" {
			n, err := strconv.ParseUint(attempts, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("restart: %q: the number of attempts is not a number", s.Restart)
			}
			out.MaxAttempts = &n
		}
		return out, nil
	}
	return nil, fmt.Errorf("restart: %q is not one of no, always, on-failure, unless-stopped", s.Restart)
}

func duration(d *types.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	v := time.Duration(*d)
	return &v
}

func updateConfig(key string, u *types.UpdateConfig) (*swarm.UpdateConfig, error) {
	if u == nil {
		return nil, nil
	}
	out := &swarm.UpdateConfig{
		Parallelism: 1, Delay: time.Duration(u.Delay), FailureAction: u.FailureAction,
		Monitor: time.Duration(u.Monitor), MaxFailureRatio: u.MaxFailureRatio, Order: u.Order,
	}
	if u.Parallelism != nil {
		out.Parallelism = *u.Parallelism
	}
	actions := []string{"", "pause", "continue", "rollback"}
	if !slices.Contains(actions, u.FailureAction) || key == "rollback_config" && u.FailureAction == "rollback" {
		return nil, fmt.Errorf("deploy.%s.failure_action: %q is not possible here", key, u.FailureAction)
	}
	if !slices.Contains([]string{"", "stop-first", "start-first"}, u.Order) {
		return nil, fmt.Errorf("deploy.%s.order: %q is not one of stop-first, start-first", key, u.Order)
	}
	if out.Delay < 0 || out.Monitor < 0 || u.MaxFailureRatio < 0 || u.MaxFailureRatio > 1 {
		return nil, fmt.Errorf("deploy.%s: delay and monitor cannot be negative, max_failure_ratio is between 0 and 1", key)
	}
	return out, nil
}

// resources prefers deploy.resources to the older keys of a service.
func resources(s types.ServiceConfig, d *types.DeployConfig) (*swarm.ResourceRequirements, error) {
	limits := &swarm.Limit{NanoCPUs: nano(s.CPUS), MemoryBytes: int64(s.MemLimit), Pids: s.PidsLimit}
	reserved := &swarm.Resources{MemoryBytes: int64(s.MemReservation)}
	if l := d.Resources.Limits; l != nil {
		override(&limits.NanoCPUs, nano(l.NanoCPUs.Value()))
		override(&limits.MemoryBytes, int64(l.MemoryBytes))
		override(&limits.Pids, l.Pids)
	}
	if r := d.Resources.Reservations; r != nil {
		override(&reserved.NanoCPUs, nano(r.NanoCPUs.Value()))
		override(&reserved.MemoryBytes, int64(r.MemoryBytes))
		for _, g := range r.GenericResources {
			if g.DiscreteResourceSpec != nil {
				reserved.GenericResources = append(reserved.GenericResources, swarm.GenericResource{
					DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: g.DiscreteResourceSpec.Kind, Value: g.DiscreteResourceSpec.Value},
				})
			}
		}
	}
	if limits.Pids < 0 {
		limits.Pids = 0 // docker run's -1: no limit
	}
	if limits.NanoCPUs < 0 || limits.MemoryBytes < 0 || reserved.NanoCPUs < 0 || reserved.MemoryBytes < 0 {
		return nil, fmt.Errorf("deploy.resources: a limit or reservation is negative")
	}
	if reserved.MemoryBytes > limits.MemoryBytes && limits.MemoryBytes > 0 {
		return nil, fmt.Errorf("deploy.resources: the reservation of memory (%d bytes) is above its limit (%d bytes)", reserved.MemoryBytes, limits.MemoryBytes)
	}
	if *limits == (swarm.Limit{}) && reserved.NanoCPUs == 0 && reserved.MemoryBytes == 0 && len(reserved.GenericResources) == 0 {
		return nil, nil
	}
	return &swarm.ResourceRequirements{Limits: limits, Reservations: reserved}, nil
}

// nano turns CPUs into billionths; rounded, as 0.29 is not exact in a float32.
func nano(cpus float32) int64 { return int64(math.Round(float64(cpus)*1e6)) * 1000 }

func override(to *int64, v int64) {
	if v != 0 {
		*to = v
	}
}

func placement(s types.ServiceConfig, d *types.DeployConfig) (*swarm.Placement, error) {
	p := &swarm.Placement{Constraints: d.Placement.Constraints, MaxReplicas: d.Placement.MaxReplicas}
	for _, pref := range d.Placement.Preferences {
		p.Preferences = append(p.Preferences, swarm.PlacementPreference{Spread: &swarm.SpreadOver{SpreadDescriptor: pref.Spread}})
	}
	if s.Platform != "" {
		os, arch, ok := strings.Cut(s.Platform, "/")
		if !ok {
			os, arch = "", s.Platform
			if s.Platform == "linux" || s.Platform == "windows" {
				os, arch = s.Platform, ""
			}
		}
		arch, _, _ = strings.Cut(arch, "/") // Swarm knows no variants
		p.Platforms = []swarm.Platform{{OS: os, Architecture: arch}}
	}
	for _, c := range p.Constraints {
		if !strings.Contains(c, "==") && !strings.Contains(c, "!=") {
			return nil, fmt.Errorf("deploy.placement.constraints: %q: constraint expected one operator from ==, !=", c)
		}
	}
	return p, nil
}

func logDriver(s types.ServiceConfig) *swarm.Driver {
	if s.Logging == nil {
		return nil
	}
	return &swarm.Driver{Name: s.Logging.Driver, Options: s.Logging.Options}
}

func endpoint(s types.ServiceConfig, d *types.DeployConfig) (*swarm.EndpointSpec, error) {
	e := &swarm.EndpointSpec{Mode: swarm.ResolutionMode(strings.ToLower(d.EndpointMode))}
	if e.Mode != "" && e.Mode != swarm.ResolutionModeVIP && e.Mode != swarm.ResolutionModeDNSRR {
		return nil, fmt.Errorf("deploy.endpoint_mode: %q is not one of vip, dnsrr", d.EndpointMode)
	}
	for _, p := range s.Ports {
		port := swarm.PortConfig{Name: p.Name, Protocol: swarm.PortConfigProtocol(p.Protocol), TargetPort: p.Target, PublishMode: swarm.PortConfigPublishMode(p.Mode)}
		if port.PublishMode == "" {
			port.PublishMode = swarm.PortConfigPublishModeIngress
		}
		if e.Mode == swarm.ResolutionModeDNSRR && port.PublishMode == swarm.PortConfigPublishModeIngress {
			return nil, fmt.Errorf("ports: %d is published with mode ingress, which endpoint_mode dnsrr cannot have; use mode: host", p.Target)
		}
		if p.Published != "" {
			n, err := strconv.ParseUint(p.Published, 10, 16)
			if err != nil {
				return nil, fmt.Errorf("ports: published %q: a service needs one port between 1 and 65535, not a range to choose from", p.Published)
			}
			port.PublishedPort = uint32(n)
		}
		e.Ports = append(e.Ports, port)
	}
	slices.SortStableFunc(e.Ports, func(a, b swarm.PortConfig) int {
		if a.PublishedPort != b.PublishedPort {
			return int(a.PublishedPort) - int(b.PublishedPort)
		}
		return int(a.TargetPort) - int(b.TargetPort)
	})
	return e, nil
}
