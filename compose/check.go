package compose

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/swarm"
)

// check finds what a schema cannot: values that exclude each other, and those that no server accepts.
func (c *converter) check() error {
	type port struct {
		number   uint32
		protocol swarm.PortConfigProtocol
	}
	taken := map[port]string{}
	for _, s := range c.stack.Services {
		if err := checkService(c.project.Services[s.Key], s.Spec); err != nil {
			return fmt.Errorf("services.%s: %w", s.Key, err)
		}
		for _, p := range s.Spec.EndpointSpec.Ports {
			if p.PublishedPort == 0 || p.PublishMode != swarm.PortConfigPublishModeIngress {
				continue
			}
			at := port{p.PublishedPort, p.Protocol}
			if other, ok := taken[at]; ok {
				return fmt.Errorf("services.%s: ports: %d/%s is published by service %s already", s.Key, p.PublishedPort, cmp.Or(string(p.Protocol), "tcp"), other)
			}
			taken[at] = s.Key
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.project.Networks)) {
		if err := checkSubnets(c.project.Networks[key]); err != nil {
			return fmt.Errorf("networks.%s: %w", key, err)
		}
	}
	return nil
}

func checkService(s types.ServiceConfig, spec swarm.ServiceSpec) error {
	t := spec.TaskTemplate
	if r := t.Resources; r != nil && r.Limits != nil && r.Reservations != nil && r.Limits.NanoCPUs > 0 && r.Reservations.NanoCPUs > r.Limits.NanoCPUs {
		return fmt.Errorf("deploy.resources: the reservation of CPUs (%g) is above its limit (%g)", float64(r.Reservations.NanoCPUs)/1e9, float64(r.Limits.NanoCPUs)/1e9)
	}
	if d := t.ContainerSpec.StopGracePeriod; d != nil && *d < 0 {
		return fmt.Errorf("stop_grace_period: %s is negative", *d)
	}
	if p := t.RestartPolicy; p != nil {
		if p.Delay != nil && *p.Delay < 0 {
			return fmt.Errorf("deploy.restart_policy.delay: %s is negative", *p.Delay)
		}
		if p.Window != nil && *p.Window < 0 {
			return fmt.Errorf("deploy.restart_policy.window: %s is negative", *p.Window)
		}
	}
	for _, u := range t.ContainerSpec.Ulimits {
		if u.Hard >= 0 && u.Soft > u.Hard {
			return fmt.Errorf("ulimits.%s: the soft limit (%d) is above the hard one (%d)", u.Name, u.Soft, u.Hard)
		}
	}
	if (s.NetworkMode == "host" || s.NetworkMode == "none") && len(s.Ports) > 0 {
		return fmt.Errorf("ports: cannot be published with network_mode: %s", s.NetworkMode)
	}
	return nil
}

func checkSubnets(n types.NetworkConfig) error {
	for i, p := range n.Ipam.Config {
		if p == nil || p.Subnet == "" {
			continue
		}
		subnet, err := netip.ParsePrefix(p.Subnet)
		if err != nil {
			return fmt.Errorf("ipam.config: subnet %q is no CIDR address such as 10.5.0.0/24", p.Subnet)
		}
		if p.Gateway == "" {
			continue
		}
		if gateway, err := netip.ParseAddr(p.Gateway); err != nil || !subnet.Contains(gateway) {
			return fmt.Errorf("ipam.config: gateway %q is no address of subnet %s (entry %d)", p.Gateway, p.Subnet, i+1)
		}
	}
	return nil
}

// checkExtension refuses keys of x-orch that mean nothing: what is written there is asked of orch alone.
func checkExtension(x map[string]any) error {
	for _, key := range slices.Sorted(maps.Keys(x)) {
		if slices.Contains(extensionKeys, key) {
			continue
		}
		if near := nearest(key, extensionKeys); near != "" {
			return fmt.Errorf("x-orch.%s: unknown key; did you mean %q?", key, near)
		}
		return fmt.Errorf("x-orch.%s: unknown key: there are %s", key, strings.Join(extensionKeys, ", "))
	}
	return nil
}
