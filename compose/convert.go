package compose

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/network"

	"orch/internal/extra"
)

// Images are the ids of the images that Build made, by service.
type Images map[string]string

// converter turns one project into a stack.
type converter struct {
	project *types.Project
	stack   *Stack
	images  Images
	secrets map[string]object // by their name in the file
	configs map[string]object
	oneShot map[string]bool // services that others wait to complete
	aliases map[string]map[string][]string
}

// Convert makes the swarm objects of a project, in the manner of `docker stack deploy`. It reads the files of secrets and
// configs and nothing else. images may be nil; with the result of Build, a rebuilt image rolls its service.
func Convert(p *Project, images Images) (*Stack, error) {
	stack, err := convert(p, images)
	return stack, p.place(err)
}

func convert(p *Project, images Images) (*Stack, error) {
	c := &converter{project: p.model, stack: &Stack{Name: p.Stack(), Warnings: slices.Clone(p.Warnings)}, images: images, oneShot: map[string]bool{}}
	var err error
	if c.secrets, err = c.convertSecrets(); err != nil {
		return nil, err
	}
	if c.configs, err = c.convertConfigs(); err != nil {
		return nil, err
	}
	for _, s := range p.model.Services {
		for dep, d := range s.DependsOn {
			if d.Condition == types.ServiceConditionCompletedSuccessfully {
				c.oneShot[dep] = true
			}
		}
	}
	c.linkAliases()
	used := map[string]bool{}
	for _, name := range p.Services() {
		s := p.model.Services[name]
		converted, err := c.service(s)
		if err != nil {
			return nil, fmt.Errorf("services.%s: %w", name, err)
		}
		c.stack.Services = append(c.stack.Services, converted)
		for n := range s.Networks {
			used[n] = true
		}
		if len(s.Networks) == 0 && s.NetworkMode == "" {
			used["default"] = true
		}
	}
	c.networks(used)
	return c.stack, c.check()
}

// scoped is a name as docker/cli makes it: stack_name.
func (c *converter) scoped(name string) string { return c.stack.Name + "_" + name }

// labels adds the stack's label, as docker/cli's AddStackLabel does.
func (c *converter) labels(from types.Labels) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, from)
	labels[LabelNamespace] = c.stack.Name
	return labels
}

func (c *converter) networks(used map[string]bool) {
	for _, key := range slices.Sorted(maps.Keys(used)) {
		n := c.project.Networks[key]
		name := c.networkName(key)
		if bool(n.External) {
			if name != "host" && name != "bridge" && name != "none" {
				c.stack.ExternalNetworks = append(c.stack.ExternalNetworks, name)
			}
			continue
		}
		o := network.CreateOptions{
			Driver: n.Driver, Options: n.DriverOpts, Internal: n.Internal, Attachable: n.Attachable,
			EnableIPv4: n.EnableIPv4, EnableIPv6: n.EnableIPv6, Labels: c.labels(n.Labels), Scope: "swarm",
		}
		if o.Driver == "" || o.Driver == "bridge" {
			o.Driver = "overlay" // a bridge would end at its node
		}
		if n.Ipam.Driver != "" || len(n.Ipam.Config) > 0 || len(n.Ipam.Options) > 0 {
			o.IPAM = &network.IPAM{Driver: n.Ipam.Driver, Options: n.Ipam.Options}
			for _, p := range n.Ipam.Config {
				o.IPAM.Config = append(o.IPAM.Config, network.IPAMConfig{Subnet: p.Subnet, IPRange: p.IPRange, Gateway: p.Gateway, AuxAddress: p.AuxiliaryAddresses})
			}
		}
		c.stack.Networks = append(c.stack.Networks, Network{Name: name, Options: o})
	}
}

func (c *converter) networkName(key string) string {
	if n := c.project.Networks[key]; n.Name != "" {
		return n.Name
	}
	return c.scoped(key)
}

// linkAliases gives the alias of `links: [db:database]` to db itself: on the networks that both share, every service may
// use it.
func (c *converter) linkAliases() {
	c.aliases = map[string]map[string][]string{}
	for _, s := range c.project.Services {
		for _, link := range s.Links {
			target, alias, ok := strings.Cut(link, ":")
			if !ok || alias == target {
				continue
			}
			for n := range s.Networks {
				if _, shared := c.project.Services[target].Networks[n]; shared {
					if c.aliases[target] == nil {
						c.aliases[target] = map[string][]string{}
					}
					c.aliases[target][n] = append(c.aliases[target][n], alias)
				}
			}
		}
	}
}

// dependencies are depends_on and what follows from links. compose-go has a linked service's restart restart the one that
// links to it, as docker compose must; names are looked up anew here, so only a restart that is asked for is one.
func dependencies(s types.ServiceConfig) types.DependsOnConfig {
	deps := maps.Clone(s.DependsOn)
	for _, link := range s.Links {
		target, _, _ := strings.Cut(link, ":")
		if d, ok := deps[target]; ok {
			d.Restart = false
			deps[target] = d
		}
	}
	return deps
}

func (c *converter) service(s types.ServiceConfig) (Service, error) {
	deploy := s.Deploy
	if deploy == nil {
		deploy = &types.DeployConfig{}
	}
	image := s.Image
	if image == "" && s.Build != nil {
		image = ImageName(c.project, s)
	}
	out := Service{Key: s.Name, DependsOn: dependencies(s)}
	spec := &out.Spec
	spec.Name = c.scoped(s.Name)
	spec.Labels = c.labels(deploy.Labels)
	spec.Labels[LabelImage] = image
	if len(out.DependsOn) > 0 {
		b, err := json.Marshal(out.DependsOn)
		if err != nil {
			return out, fmt.Errorf("depends_on: %w", err)
		}
		spec.Labels[LabelDependsOn] = string(b)
	}
	how, err := strategyLabels(s)
	if err != nil {
		return out, err
	}
	maps.Copy(spec.Labels, how)
	container, err := c.container(s, image)
	if err != nil {
		return out, err
	}
	ext, err := c.extra(s)
	if err != nil {
		return out, err
	}
	if err := extra.ToLabels(container.Labels, ext); err != nil {
		return out, err
	}
	spec.TaskTemplate.ContainerSpec = container
	if spec.TaskTemplate.Networks, err = c.attachments(s); err != nil {
		return out, err
	}
	if spec.TaskTemplate.Resources, err = resources(s, deploy); err != nil {
		return out, err
	}
	if spec.TaskTemplate.RestartPolicy, err = restartPolicy(s, deploy, c.oneShot[s.Name]); err != nil {
		return out, err
	}
	if spec.TaskTemplate.Placement, err = placement(s, deploy); err != nil {
		return out, err
	}
	spec.TaskTemplate.LogDriver = logDriver(s)
	if spec.Mode, err = mode(s, deploy); err != nil {
		return out, err
	}
	if spec.EndpointSpec, err = endpoint(s, deploy); err != nil {
		return out, err
	}
	if spec.UpdateConfig, err = updateConfig("update_config", deploy.UpdateConfig); err != nil {
		return out, err
	}
	if spec.RollbackConfig, err = updateConfig("rollback_config", deploy.RollbackConfig); err != nil {
		return out, err
	}
	job := spec.Mode.ReplicatedJob != nil || spec.Mode.GlobalJob != nil
	if job && (spec.UpdateConfig != nil || spec.RollbackConfig != nil) {
		return out, fmt.Errorf("deploy: a job cannot have update_config or rollback_config")
	}
	out.OneShot = job || c.oneShot[s.Name]
	return out, nil
}
