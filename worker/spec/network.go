package spec

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"orch/worker/engine"
)

// predefinedLabel marks the engine's own networks (host, bridge, none) among a cluster's.
const predefinedLabel = "com.docker.swarm.predefined"

func predefined(a swarm.NetworkAttachment) bool {
	return a.Network.Spec.Labels[predefinedLabel] == "true"
}

// networkMode names the engine's own network that the task is on; empty leaves it to the
// networks of the cluster, and to the engine's default bridge without any.
func (t Task) networkMode() container.NetworkMode {
	for _, a := range t.NetworksAttachments {
		if predefined(a) {
			return container.NetworkMode(a.Network.Spec.Name)
		}
	}
	return ""
}

// Networks are the IDs of the cluster's networks that the task is on.
func (t Task) Networks() []string {
	var ids []string
	for _, a := range t.clusterNetworks() {
		ids = append(ids, a.Network.ID)
	}
	return ids
}

func (t Task) clusterNetworks() []swarm.NetworkAttachment {
	var out []swarm.NetworkAttachment
	for _, a := range t.NetworksAttachments {
		if !predefined(a) {
			out = append(out, a)
		}
	}
	return out
}

// endpoints are the task's places on the cluster's networks. They carry no aliases: Docker's own resolver would answer for
// them first, and knows of this node's tasks only.
func (t Task) endpoints(names map[string]string) ([]engine.Endpoint, error) {
	var out []engine.Endpoint
	for _, a := range t.clusterNetworks() {
		name, ok := names[a.Network.ID]
		if !ok {
			return nil, fmt.Errorf("network %s is not on this node", a.Network.ID)
		}
		out = append(out, engine.Endpoint{Network: name, Settings: settings(a.Addresses)})
	}
	return out, nil
}

func settings(addresses []string) *network.EndpointSettings {
	s := &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{}}
	for _, address := range addresses {
		p, err := netip.ParsePrefix(address)
		if err != nil {
			continue
		}
		if p.Addr().Is4() {
			s.IPAMConfig.IPv4Address = p.Addr().String()
			s.MacAddress = mac(p.Addr())
		} else {
			s.IPAMConfig.IPv6Address = p.Addr().String()
		}
	}
	return s
}

// mac is the address that every node expects of a task: forwarding entries are made from its IP address alone.
func mac(a netip.Addr) string {
	b := a.As4()
	return net.HardwareAddr{0x02, 0x42, b[0], b[1], b[2], b[3]}.String()
}
