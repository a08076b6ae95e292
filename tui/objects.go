package tui

import (
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/volume"

	"orch/tui/feed"
)

// forwarding is a port of this machine that leads to a task.
type forwarding struct {
	id          int
	local, name string
	port        uint16
	failed      string // why the last connection could not be made
}

func forwardKind() *kind {
	return &kind{
		name: "forwards", empty: "No ports are forwarded. In services or tasks, f forwards one.",
		items: func(e env, _ scope) (out []item) {
			for _, f := range e.forwards {
				out = append(out, item{fmt.Sprint(f.id), f.local, f})
			}
			return out
		},
		columns: []column{
			col("HERE", func(_ env, f forwarding) string { return f.local }),
			col("TASK", func(_ env, f forwarding) string { return f.name }),
			col("PORT", func(_ env, f forwarding) string { return fmt.Sprint(f.port) }),
			col("LAST FAILURE", func(_ env, f forwarding) string { return f.failed }).toned(always(bad)),
		},
	}
}

// nodeState is a node's state and what is exceptional about it.
func nodeState(n *swarm.Node) string {
	state := string(n.Status.State)
	if n.Spec.Availability != "" && n.Spec.Availability != swarm.NodeAvailabilityActive {
		state += ", " + string(n.Spec.Availability)
	}
	if n.Status.Message != "" && n.Status.State != swarm.NodeStateReady {
		state += ": " + n.Status.Message
	}
	return state
}

func nodeTone(_ env, v any) tone {
	switch n := v.(*swarm.Node); {
	case n.Status.State != swarm.NodeStateReady:
		return bad
	case n.Spec.Availability != "" && n.Spec.Availability != swarm.NodeAvailabilityActive:
		return warn
	}
	return good
}

func roleOf(n *swarm.Node) string {
	switch m := n.ManagerStatus; {
	case m == nil:
		return string(n.Spec.Role)
	case m.Leader:
		return "leader"
	case m.Reachability != swarm.ReachabilityReachable:
		return "manager, " + string(m.Reachability)
	}
	return "manager"
}

// runningOn counts a node's tasks.
func runningOn(s *feed.State, node string) (n int) {
	for _, t := range s.TasksOn(node) {
		if t.State == swarm.TaskStateRunning {
			n++
		}
	}
	return n
}

func labelsOf(labels map[string]string) string {
	var out []string
	for _, k := range sortedKeys(labels) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, " ")
}

func networkKind() *kind {
	return &kind{
		name: "networks", empty: "No networks.",
		items: func(e env, _ scope) (out []item) {
			for _, n := range e.state.Networks {
				out = append(out, item{n.ID, n.Name, n})
			}
			return out
		},
		columns: []column{
			col("NETWORK", func(_ env, n network.Summary) string { return n.Name }),
			col("DRIVER", func(_ env, n network.Summary) string { return n.Driver }),
			col("SCOPE", func(_ env, n network.Summary) string { return n.Scope }),
			col("SUBNET", func(_ env, n network.Summary) string {
				var out []string
				for _, c := range n.IPAM.Config {
					out = append(out, c.Subnet)
				}
				return strings.Join(out, " ")
			}),
			col("KIND", func(_ env, n network.Summary) string {
				var out []string
				if n.Attachable {
					out = append(out, "attachable")
				}
				if n.Internal {
					out = append(out, "internal")
				}
				if n.Ingress {
					out = append(out, "ingress")
				}
				if _, ok := n.Options["encrypted"]; ok {
					out = append(out, "encrypted")
				}
				return strings.Join(out, ", ")
			}),
			col("SERVICES", func(e env, n network.Summary) string {
				return usedBy(e.state, func(v *feed.Service) bool { return onNetwork(v, n) })
			}),
		},
	}
}

func onNetwork(v *feed.Service, n network.Summary) bool {
	for _, a := range v.Spec.TaskTemplate.Networks {
		if a.Target == n.ID || a.Target == n.Name {
			return true
		}
	}
	return false
}

// usedBy names the services that use something.
func usedBy(s *feed.State, uses func(*feed.Service) bool) string {
	var out []string
	for _, v := range s.Services {
		if uses(v) {
			out = append(out, v.Spec.Name)
		}
	}
	return strings.Join(out, " ")
}

func volumeKind() *kind {
	return &kind{
		name: "volumes", empty: "No volumes on the machine whose API this is.",
		items: func(e env, _ scope) (out []item) {
			for _, v := range e.state.Volumes {
				out = append(out, item{v.Name, v.Name, v})
			}
			return out
		},
		columns: []column{
			col("VOLUME, HERE", func(_ env, v *volume.Volume) string { return v.Name }),
			col("DRIVER", func(_ env, v *volume.Volume) string { return v.Driver }),
			col("CREATED", func(e env, v *volume.Volume) string {
				at, _ := time.Parse(time.RFC3339, v.CreatedAt)
				return ago(e.now, at)
			}),
			col("SERVICES", func(e env, v *volume.Volume) string {
				return usedBy(e.state, func(s *feed.Service) bool {
					if c := s.Spec.TaskTemplate.ContainerSpec; c != nil {
						for _, m := range c.Mounts {
							if m.Source == v.Name {
								return true
							}
						}
					}
					return false
				})
			}),
			col("LABELS", func(_ env, v *volume.Volume) string { return labelsOf(v.Labels) }),
		},
	}
}

func secretKind() *kind {
	return &kind{
		name: "secrets", empty: "No secrets.",
		items: func(e env, _ scope) (out []item) {
			for _, s := range e.state.Secrets {
				out = append(out, item{s.ID, s.Spec.Name, s})
			}
			return out
		},
		columns: []column{
			col("SECRET", func(_ env, s swarm.Secret) string { return s.Spec.Name }),
			col("CREATED", func(e env, s swarm.Secret) string { return ago(e.now, s.CreatedAt) }).by(func(e env, v any) float64 { return e.now.Sub(v.(swarm.Secret).CreatedAt).Seconds() }),
			col("SERVICES", func(e env, s swarm.Secret) string {
				return usedBy(e.state, func(v *feed.Service) bool {
					if c := v.Spec.TaskTemplate.ContainerSpec; c != nil {
						for _, r := range c.Secrets {
							if r.SecretID == s.ID {
								return true
							}
						}
					}
					return false
				})
			}),
			col("LABELS", func(_ env, s swarm.Secret) string { return labelsOf(s.Spec.Labels) }),
		},
	}
}

func configKind() *kind {
	return &kind{
		name: "configs", empty: "No configs.",
		items: func(e env, _ scope) (out []item) {
			for _, c := range e.state.Configs {
				out = append(out, item{c.ID, c.Spec.Name, c})
			}
			return out
		},
		columns: []column{
			col("CONFIG", func(_ env, c swarm.Config) string { return c.Spec.Name }),
			col("CREATED", func(e env, c swarm.Config) string { return ago(e.now, c.CreatedAt) }).by(func(e env, v any) float64 { return e.now.Sub(v.(swarm.Config).CreatedAt).Seconds() }),
			col("SERVICES", func(e env, s swarm.Config) string {
				return usedBy(e.state, func(v *feed.Service) bool {
					if c := v.Spec.TaskTemplate.ContainerSpec; c != nil {
						for _, r := range c.Configs {
							if r.ConfigID == s.ID {
								return true
							}
						}
					}
					return false
				})
			}),
			col("LABELS", func(_ env, c swarm.Config) string { return labelsOf(c.Spec.Labels) }),
		},
	}
}

func imageKind() *kind {
	nameOf := func(i image.Summary) string {
		if len(i.RepoTags) > 0 {
			return strings.Join(i.RepoTags, " ")
		}
		return "<none>"
	}
	return &kind{
		name: "images", empty: "No images on the machine whose API this is.",
		items: func(e env, _ scope) (out []item) {
			for _, i := range e.state.Images {
				out = append(out, item{i.ID, nameOf(i), i})
			}
			return out
		},
		columns: []column{
			col("IMAGE, HERE", func(_ env, i image.Summary) string { return nameOf(i) }),
			col("SIZE", func(_ env, i image.Summary) string { return bytes(float64(i.Size)) }).by(func(_ env, v any) float64 { return float64(v.(image.Summary).Size) }),
			col("CREATED", func(e env, i image.Summary) string { return ago(e.now, time.Unix(i.Created, 0)) }).by(func(_ env, v any) float64 { return -float64(v.(image.Summary).Created) }),
			col("SERVICES", func(e env, i image.Summary) string {
				return usedBy(e.state, func(v *feed.Service) bool {
					for _, tag := range i.RepoTags {
						if imageOf(v) == tag {
							return true
						}
					}
					return false
				})
			}),
			col("ID", func(_ env, i image.Summary) string { return strings.TrimPrefix(i.ID, "sha256:") }).hidden(),
		},
	}
}
