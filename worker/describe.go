package worker

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"

	"orch/internal/bus"
)

// describe is what the managers are told of the node.
func (a *Agent) describe(ctx context.Context) (bus.Session, error) {
	info, err := a.Engine.Info(ctx)
	if err != nil {
		return bus.Session{}, err
	}
	used, err := a.Network.UsedSubnets()
	if err != nil {
		return bus.Session{}, err
	}
	d := description(info)
	if a.TLSInfo != nil {
		d.TLSInfo = a.TLSInfo()
	}
	ways, public := a.Network.Encryption()
	return bus.Session{
		Encryption: ways, WireGuard: public,
		Node: a.NodeID, Description: d, Address: a.Address,
		Conditions: append(a.Network.Conditions(), a.doubtful(ctx)...), UsedSubnets: used,
	}, nil
}

// description is an engine and its machine in Swarm's terms.
func description(info system.Info) swarm.NodeDescription {
	d := swarm.NodeDescription{
		Hostname: info.Name,
		Platform: swarm.Platform{Architecture: info.Architecture, OS: info.OSType},
		Engine: swarm.EngineDescription{
			EngineVersion: info.ServerVersion, Labels: map[string]string{},
			Plugins: plugins(info),
		},
		Resources: swarm.Resources{
			NanoCPUs: int64(info.NCPU) * 1e9, MemoryBytes: info.MemTotal, GenericResources: info.GenericResources,
		},
	}
	for _, label := range info.Labels {
		if k, v, ok := strings.Cut(label, "="); ok {
			d.Engine.Labels[k] = v
		}
	}
	return d
}

func plugins(info system.Info) []swarm.PluginDescription {
	var out []swarm.PluginDescription
	add := func(kind string, names ...string) {
		for _, name := range names {
			out = append(out, swarm.PluginDescription{Type: kind, Name: name})
		}
	}
	add("Volume", info.Plugins.Volume...)
	add("Network", "overlay") // the worker's own, whatever the engine has
	add("Network", info.Plugins.Network...)
	add("Authorization", info.Plugins.Authorization...)
	add("Log", info.Plugins.Log...)
	slices.SortFunc(out, func(a, b swarm.PluginDescription) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(out)
}

// sameNode says that the managers need not be told: what is routed on the node they only need for new networks.
func sameNode(a, b bus.Session) bool {
	return reflect.DeepEqual(a.Description, b.Description) && slices.Equal(a.Conditions, b.Conditions) &&
		slices.Equal(a.Encryption, b.Encryption) && a.WireGuard == b.WireGuard
}

// watchPorts has the managers told of published ports that cannot be opened here.
func (a *Agent) watchPorts(ctx context.Context) error {
	for {
		select {
		case <-a.Network.PortErrorsChanged():
			a.link.redescribe()
		case <-ctx.Done():
			return nil
		}
	}
}
