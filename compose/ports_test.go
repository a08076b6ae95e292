package compose

import (
	"testing"

	"github.com/docker/docker/api/types/swarm"
)

func TestAPortThatNoNodeCanOpen(t *testing.T) {
	node := func(name, message string) swarm.Node {
		n := swarm.Node{Status: swarm.NodeStatus{Message: message}}
		n.Description.Hostname = name
		return n
	}
	taken := "no vxlan; port 80/tcp is already in use on this node by another program"
	web := []swarm.PortConfig{{PublishedPort: 80, Protocol: "tcp"}}
	for name, c := range map[string]struct {
		ports []swarm.PortConfig
		nodes []swarm.Node
		want  string
	}{
		"on one of two":     {web, []swarm.Node{node("n1", taken), node("n2", "")}, ""},
		"on both":           {web, []swarm.Node{node("n1", taken), node("n2", taken)}, "n2: port 80/tcp is already in use on this node by another program"},
		"another port":      {[]swarm.PortConfig{{PublishedPort: 8, Protocol: "tcp"}}, []swarm.Node{node("n1", taken)}, ""},
		"another protocol":  {[]swarm.PortConfig{{PublishedPort: 80, Protocol: "udp"}}, []swarm.Node{node("n1", taken)}, ""},
		"in host mode":      {[]swarm.PortConfig{{PublishedPort: 80, Protocol: "tcp", PublishMode: swarm.PortConfigPublishModeHost}}, []swarm.Node{node("n1", taken)}, ""},
		"no node to ask":    {web, nil, ""},
		"nothing published": {nil, []swarm.Node{node("n1", taken)}, ""},
	} {
		if got := closed(c.ports, c.nodes); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
