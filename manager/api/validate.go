package api

import (
	"regexp"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/strategy"
	"orch/internal/template"
	"orch/manager/scheduler"
)

// The least that Swarm gives a task.
const (
	minCPU    = 1e6     // a thousandth of one, in nanos
	minMemory = 4 << 20 // 4 MiB
)

var serviceName = regexp.MustCompile(`^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$`)

// prepare brings a spec to the form in which it is kept and refuses what can be
// told from the spec alone.
func prepare(spec *swarm.ServiceSpec) error {
	for _, u := range []*swarm.UpdateConfig{spec.UpdateConfig, spec.RollbackConfig} {
		if err := checkUpdateWords(u); err != nil {
			return err
		}
	}
	if p := spec.TaskTemplate.RestartPolicy; p != nil {
		switch p.Condition {
		case "", swarm.RestartPolicyConditionAny, swarm.RestartPolicyConditionNone, swarm.RestartPolicyConditionOnFailure:
		default:
			return invalid("invalid RestartCondition: %q", p.Condition)
		}
	}
	if err := checkRuntime(&spec.TaskTemplate); err != nil {
		return err
	}
	if err := checkWords(spec); err != nil {
		return err
	}
	normalise(spec)
	for _, check := range []func(*swarm.ServiceSpec) error{checkTask, checkUpdates, checkEndpoint, checkMode} {
		if err := check(spec); err != nil {
			return err
		}
	}
	if err := checkFiles(spec.TaskTemplate.ContainerSpec); err != nil {
		return err
	}
	// On the node there are more values, but no more fields.
	if _, err := new(template.Context).Spec(spec.TaskTemplate.ContainerSpec); err != nil {
		return badSpec("%v", err)
	}
	return nil
}

// checkWords refuses words that Swarm has no meaning for.
func checkWords(spec *swarm.ServiceSpec) error {
	if e := spec.EndpointSpec; e != nil {
		switch swarm.ResolutionMode(strings.ToLower(string(e.Mode))) {
		case "", swarm.ResolutionModeVIP, swarm.ResolutionModeDNSRR:
		default:
			return invalid("invalid resolution mode: %q", e.Mode)
		}
		for _, p := range e.Ports {
			switch p.Protocol {
			case "", swarm.PortConfigProtocolTCP, swarm.PortConfigProtocolUDP, swarm.PortConfigProtocolSCTP:
			default:
				return invalid("invalid port protocol: %q", p.Protocol)
			}
		}
	}
	for _, m := range spec.TaskTemplate.ContainerSpec.Mounts {
		switch m.Type {
		case "", mount.TypeBind, mount.TypeVolume, mount.TypeTmpfs, mount.TypeNamedPipe, mount.TypeCluster:
		default:
			return invalid("invalid MountType: %q", m.Type)
		}
	}
	return nil
}

func checkUpdateWords(u *swarm.UpdateConfig) error {
	if u == nil {
		return nil
	}
	switch u.FailureAction {
	case "", swarm.UpdateFailureActionPause, swarm.UpdateFailureActionContinue, swarm.UpdateFailureActionRollback:
	default:
		return invalid("unrecognized update failure action %s", u.FailureAction)
	}
	switch u.Order {
	case "", swarm.UpdateOrderStopFirst, swarm.UpdateOrderStartFirst:
		return nil
	}
	return invalid("unrecognized update order %s", u.Order)
}

func checkRuntime(t *swarm.TaskSpec) error {
	switch t.Runtime {
	case "", swarm.RuntimeContainer:
		if t.ContainerSpec == nil {
			return invalid("mismatched Runtime and *Spec fields")
		}
		return nil
	case swarm.RuntimePlugin:
		return refuse(errdefs.ErrNotImplemented, "runtime type %q only supported in experimental", t.Runtime)
	}
	return invalid("unsupported runtime type: %q", t.Runtime)
}

// checkAnnotations holds the name of a service or network to Swarm's form.
func checkAnnotations(a swarm.Annotations) error {
	switch {
	case a.Name == "":
		return badSpec("meta: name must be provided")
	case !serviceName.MatchString(a.Name):
		return badSpec("name must be valid as a DNS name component")
	case len(a.Name) > 63:
		return badSpec("name must be 63 characters or fewer")
	}
	return nil
}

func checkTask(spec *swarm.ServiceSpec) error {
	t := &spec.TaskTemplate
	if r := t.Resources; r != nil {
		if l := r.Limits; l != nil {
			if err := checkResources(l.NanoCPUs, l.MemoryBytes); err != nil {
				return err
			}
		}
		if l := r.Reservations; l != nil {
			if err := checkResources(l.NanoCPUs, l.MemoryBytes); err != nil {
				return err
			}
		}
	}
	if p := t.RestartPolicy; p != nil {
		if p.Delay != nil && *p.Delay < 0 {
			return badSpec("TaskSpec: restart-delay cannot be negative")
		}
		if p.Window != nil && *p.Window < 0 {
			return badSpec("TaskSpec: restart-window cannot be negative")
		}
	}
	if t.Placement != nil {
		if _, err := scheduler.ParseConstraints(t.Placement.Constraints); err != nil {
			return remote(errdefs.ErrUnknown, "%v", err)
		}
	}
	return checkContainer(t.ContainerSpec)
}

func checkResources(cpus, memory int64) error {
	if cpus != 0 && cpus < minCPU {
		return badSpec("invalid cpu value %g: Must be at least %g", float64(cpus)/1e9, float64(minCPU)/1e9)
	}
	if memory != 0 && memory < minMemory {
		return badSpec("invalid memory value %d: Must be at least 4MiB", memory)
	}
	return nil
}

func checkContainer(c *swarm.ContainerSpec) error {
	if c.Image == "" {
		return badSpec("ContainerSpec: image reference must be provided")
	}
	if _, err := reference.ParseNormalizedNamed(c.Image); err != nil {
		if _, err := reference.ParseAnyReference(c.Image); err != nil {
			return badSpec("ContainerSpec: %q is not a valid repository/tag", c.Image)
		}
	}
	targets := map[string]bool{}
	for _, m := range c.Mounts {
		if targets[m.Target] {
			return badSpec("ContainerSpec: duplicate mount point: %s", m.Target)
		}
		targets[m.Target] = true
	}
	h := c.Healthcheck
	if h == nil {
		return nil
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Interval", h.Interval}, {"Timeout", h.Timeout}, {"StartPeriod", h.StartPeriod}} {
		if d.value > 0 && d.value < time.Millisecond {
			return badSpec("ContainerSpec: %s in HealthConfig cannot be less than 1ms", d.name)
		}
	}
	switch {
	case h.Interval < 0:
		return badSpec("ContainerSpec: Interval in HealthConfig cannot be negative")
	case h.Timeout < 0:
		return badSpec("ContainerSpec: Timeout in HealthConfig cannot be negative")
	case h.Retries < 0:
		return badSpec("ContainerSpec: Retries in HealthConfig cannot be negative")
	case h.StartPeriod < 0:
		return badSpec("ContainerSpec: StartPeriod in HealthConfig cannot be negative")
	}
	return nil
}

func checkUpdates(spec *swarm.ServiceSpec) error {
	if isJob(spec.Mode) && spec.UpdateConfig != nil {
		return badSpec("Jobs may not have an update config")
	}
	how, err := strategy.Parse(spec.Labels)
	switch {
	case err != nil:
		return badSpec("%v", err)
	case isJob(spec.Mode) && how != strategy.Strategy{}:
		return badSpec("a job is run again, not updated: it has neither a canary nor a blue-green update")
	}
	for _, u := range []*swarm.UpdateConfig{spec.UpdateConfig, spec.RollbackConfig} {
		switch {
		case u == nil:
		case u.Delay < 0:
			return badSpec("TaskSpec: update-delay cannot be negative")
		case u.Monitor < 0:
			return badSpec("TaskSpec: update-monitor cannot be negative")
		case u.MaxFailureRatio < 0 || u.MaxFailureRatio > 1:
			return badSpec("TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1")
		}
	}
	return nil
}

func checkEndpoint(spec *swarm.ServiceSpec) error {
	if spec.EndpointSpec == nil {
		return nil
	}
	type port struct {
		number   uint32
		protocol swarm.PortConfigProtocol
		mode     swarm.PortConfigPublishMode
	}
	seen := map[port]bool{}
	for _, p := range spec.EndpointSpec.Ports {
		if spec.EndpointSpec.Mode == swarm.ResolutionModeDNSRR && p.PublishMode == swarm.PortConfigPublishModeIngress {
			return badSpec("EndpointSpec: port published with ingress mode can't be used with dnsrr mode")
		}
		if p.TargetPort > 65535 || p.PublishedPort > 65535 {
			return badSpec("EndpointSpec: invalid port %d: must be at most 65535", max(p.TargetPort, p.PublishedPort))
		}
		key := port{number: p.PublishedPort, protocol: p.Protocol, mode: p.PublishMode}
		if p.PublishedPort != 0 && seen[key] {
			return badSpec("EndpointSpec: duplicate published ports provided")
		}
		seen[key] = true
	}
	return nil
}

// maxReplicas keeps a slip of the hand from filling the state: Swarm's own
// bound is that of a signed integer.
const maxReplicas = 1 << 31

func checkMode(spec *swarm.ServiceSpec) error {
	set := 0
	m := spec.Mode
	for _, is := range []bool{m.Replicated != nil, m.Global != nil, m.ReplicatedJob != nil, m.GlobalJob != nil} {
		if is {
			set++
		}
	}
	if set > 1 {
		return invalid("must specify only one service mode")
	}
	if m.Replicated != nil && *m.Replicated.Replicas >= maxReplicas ||
		m.ReplicatedJob != nil && (*m.ReplicatedJob.MaxConcurrent >= maxReplicas || *m.ReplicatedJob.TotalCompletions >= maxReplicas) {
		return badSpec("Number of replicas must be non-negative")
	}
	return nil
}

// checkFiles refuses references to secrets and configs that are incomplete or in
// each other's way.
func checkFiles(c *swarm.ContainerSpec) error {
	targets := map[string]string{}
	for _, s := range c.Secrets {
		if s == nil || s.SecretID == "" || s.SecretName == "" || s.File == nil {
			return badSpec("malformed secret reference")
		}
		if other, ok := targets[s.File.Name]; ok {
			return badSpec("secret references '%s' and '%s' have a conflicting target: '%s'", other, s.SecretName, s.File.Name)
		}
		targets[s.File.Name] = s.SecretName
	}
	clear(targets)
	for _, f := range c.Configs {
		switch {
		case f == nil || f.ConfigID == "" || f.ConfigName == "" || f.File == nil && f.Runtime == nil:
			return badSpec("malformed config reference")
		case f.File == nil:
			continue
		}
		if other, ok := targets[f.File.Name]; ok {
			return badSpec("config references '%s' and '%s' have a conflicting target: '%s'", other, f.ConfigName, f.File.Name)
		}
		targets[f.File.Name] = f.ConfigName
	}
	return nil
}
