package compose

import (
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/swarm"
)

// closed says why a published port leads nowhere: on every node another program has it. One node that can open it
// is enough to serve; the others say in their message what is wrong.
//
// Swarm has no such message and the port stays silently dead there.
func closed(ports []swarm.PortConfig, nodes []swarm.Node) string {
	for _, p := range ports {
		if p.PublishMode == swarm.PortConfigPublishModeHost || p.PublishedPort == 0 || len(nodes) == 0 {
			continue
		}
		named := fmt.Sprintf("port %d/%s ", p.PublishedPort, p.Protocol)
		why := ""
		for _, n := range nodes {
			if why = sentence(n.Status.Message, named); why == "" {
				break
			}
			why = n.Description.Hostname + ": " + why
		}
		if why != "" {
			return why
		}
	}
	return ""
}

// sentence is the part of a node's message that begins with something.
func sentence(message, begin string) string {
	for part := range strings.SplitSeq(message, "; ") {
		if strings.HasPrefix(part, begin) {
			return part
		}
	}
	return ""
}
