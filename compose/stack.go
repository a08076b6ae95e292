package compose

import (
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
)

// Labels that docker/cli puts on a stack's objects, and orch's own.
const (
	LabelNamespace = "com.docker.stack.namespace" // on everything, containers included
	LabelImage     = "com.docker.stack.image"     // on services: the image as written, without digest
	LabelDependsOn = "orch.depends_on"            // on services: compose's depends_on as JSON
	LabelContent   = "orch.content"               // on secrets and configs that are named by content: the name in the file
)

// maxServiceName is Swarm's limit, a DNS label's.
const maxServiceName = 63

// serviceName is Swarm's rule for names of services.
var serviceName = regexp.MustCompile(`^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$`)

// Stack is what is to exist: the swarm objects of one project, in the order that the API needs them.
type Stack struct {
	Name     string
	Networks []Network
	Secrets  []swarm.SecretSpec
	Configs  []swarm.ConfigSpec
	Services []Service

	// External objects must exist already; Convert cannot know.
	ExternalNetworks, ExternalSecrets, ExternalConfigs []string

	Warnings []Warning
}

// Network is a network to create.
type Network struct {
	Name    string
	Options network.CreateOptions
}

// Service is a service to create or update. References to networks, secrets and configs carry names only: Apply fills the
// ids in.
type Service struct {
	Key       string // its name in the file
	Spec      swarm.ServiceSpec
	DependsOn types.DependsOnConfig
	// OneShot services are done when their tasks have completed: jobs, and what others wait for to complete.
	OneShot bool
}

// Short is a full name of the stack without the stack's prefix, as the file has it.
func (s *Stack) Short(name string) string { return strings.TrimPrefix(name, s.Name+"_") }
