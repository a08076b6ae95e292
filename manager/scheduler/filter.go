package scheduler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// filter keeps a task away from nodes that cannot run it.
type filter struct {
	pass func(*node) bool
	// reason is what failed, with %s for how many nodes.
	reason string
}

// filterSet is what a task asks of a node, in the order in which Swarm asks it.
type filterSet []filter

func filters(t *store.Task) filterSet {
	fs := filterSet{{ready, "%s not available for new tasks"}}
	add := func(needed bool, pass func(*node) bool, reason string) {
		if needed {
			fs = append(fs, filter{pass, reason})
		}
	}
	r := reservations(t)
	add(r.NanoCPUs != 0 || r.MemoryBytes != 0 || len(r.GenericResources) != 0, func(n *node) bool {
		return r.NanoCPUs <= n.cpu && r.MemoryBytes <= n.memory && enough(n.generic, r.GenericResources)
	}, "insufficient resources on %s")

	plugins := requiredPlugins(t)
	add(len(plugins) > 0, func(n *node) bool { return hasPlugins(n, plugins) }, "missing plugin on %s")

	placement := t.Spec.Placement
	if placement == nil {
		placement = &swarm.Placement{}
	}
	constraints, err := ParseConstraints(placement.Constraints)
	add(err == nil && len(constraints) > 0, func(n *node) bool {
		return constraints.Match(n.Node)
	}, "scheduling constraints not satisfied on %s")
	add(len(placement.Platforms) > 0, func(n *node) bool {
		return slices.ContainsFunc(placement.Platforms, func(p swarm.Platform) bool { return runs(n, p) })
	}, "unsupported platform on %s")

	add(slices.ContainsFunc(t.NetworksAttachments, func(a swarm.NetworkAttachment) bool { return store.Encrypted(a.Network.Spec) }),
		func(n *node) bool { return len(n.Encryption) > 0 }, "overlay traffic cannot be encrypted on %s")

	ports := hostPorts(t)
	add(len(ports) > 0, func(n *node) bool {
		return !slices.ContainsFunc(ports, func(p port) bool { return n.ports[p] })
	}, "host-mode port already in use on %s")
	add(placement.MaxReplicas > 0, func(n *node) bool {
		return uint64(n.byService[t.ServiceID]+n.leaving[t.ServiceID]) < placement.MaxReplicas
	}, "max replicas per node limit exceed")
	add(hasClusterVolume(t), func(*node) bool { return false }, "cannot fulfill requested CSI volume mounts on %s")
	return fs
}

func (fs filterSet) pass(n *node) bool { return fs.refusing(n) < 0 }

// refusing is the index of the first filter that refuses the node, or -1.
func (fs filterSet) refusing(n *node) int {
	return slices.IndexFunc(fs, func(f filter) bool { return !f.pass(n) })
}

// explain says in Swarm's words which filters refuse how many of the nodes, the
// most first.
func (fs filterSet) explain(nodes []*node) string {
	refused := make([]int, len(fs))
	for _, n := range nodes {
		if i := fs.refusing(n); i >= 0 {
			refused[i]++
		}
	}
	var reasons []string
	for {
		most := slices.Index(refused, slices.Max(refused))
		if refused[most] == 0 {
			return strings.Join(reasons, "; ")
		}
		reason := fs[most].reason
		if strings.Contains(reason, "%s") {
			reason = fmt.Sprintf(reason, count(refused[most]))
		}
		reasons = append(reasons, reason)
		refused[most] = 0
	}
}

func count(nodes int) string {
	if nodes == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", nodes)
}

func ready(n *node) bool {
	return n.Status.State == swarm.NodeStateReady && n.Spec.Availability == swarm.NodeAvailabilityActive
}

// runs says whether a platform, its empty fields meaning any, is the node's.
func runs(n *node, p swarm.Platform) bool {
	own := n.Description.Platform
	return (p.OS == "" || p.OS == own.OS) &&
		(p.Architecture == "" || Architecture(p.Architecture) == Architecture(own.Architecture))
}

// Architecture gives the two that have a kernel's name, as nodes do, the name that images have.
func Architecture(name string) string {
	switch name {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	default:
		return name
	}
}

func mounts(t *store.Task) []mount.Mount {
	if t.Spec.ContainerSpec == nil {
		return nil
	}
	return t.Spec.ContainerSpec.Mounts
}

// volumeDriver is the driver of a volume mount; the engine's own has no name.
func volumeDriver(m mount.Mount) string {
	if o := m.VolumeOptions; o != nil && o.DriverConfig != nil && o.DriverConfig.Name != "local" {
		return o.DriverConfig.Name
	}
	return ""
}

func hasClusterVolume(t *store.Task) bool {
	return slices.ContainsFunc(mounts(t), func(m mount.Mount) bool { return m.Type == mount.TypeCluster })
}

// hasLocalVolume says that the task keeps data on its node.
func hasLocalVolume(t *store.Task) bool {
	return slices.ContainsFunc(mounts(t), func(m mount.Mount) bool {
		return m.Type == mount.TypeVolume && m.Source != "" && volumeDriver(m) == ""
	})
}

func requiredPlugins(t *store.Task) (plugins []swarm.PluginDescription) {
	for _, m := range mounts(t) {
		if driver := volumeDriver(m); m.Type == mount.TypeVolume && driver != "" {
			plugins = append(plugins, swarm.PluginDescription{Type: "Volume", Name: driver})
		}
	}
	if log := t.Spec.LogDriver; log != nil && log.Name != "" && log.Name != "none" {
		plugins = append(plugins, swarm.PluginDescription{Type: "Log", Name: log.Name})
	}
	return plugins
}

// hasPlugins looks plugins up by name, with or without the tag latest. A node
// that lists no log drivers at all is one that does not tell.
func hasPlugins(n *node, plugins []swarm.PluginDescription) bool {
	installed := n.Description.Engine.Plugins
	for _, p := range plugins {
		ofType := func(q swarm.PluginDescription) bool { return q.Type == p.Type }
		same := func(q swarm.PluginDescription) bool {
			return ofType(q) && (q.Name == p.Name || q.Name == p.Name+":latest")
		}
		if !slices.ContainsFunc(installed, same) && (p.Type != "Log" || slices.ContainsFunc(installed, ofType)) {
			return false
		}
	}
	return true
}
