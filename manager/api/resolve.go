package api

import (
	"errors"
	"slices"
	"strings"
	"unicode"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
	"orch/manager/allocator"
)

// resolve checks a spec against what there is, and names its networks by ID.
func resolve(tx *store.Tx, spec *swarm.ServiceSpec, id string) error {
	if err := resolveNetworks(tx, spec); err != nil {
		return err
	}
	if err := allocator.PortConflict(&tx.View, spec.EndpointSpec, id); err != nil {
		return badSpec("%v", err)
	}
	if allocator.NeedsIngress(spec.EndpointSpec) && allocator.Ingress(&tx.View) == nil {
		return badSpec("service needs ingress network, but no ingress network is present")
	}
	return filesExist(&tx.View, spec.TaskTemplate.ContainerSpec)
}

// resolveNetworks: an old client names networks beside the task template.
func resolveNetworks(tx *store.Tx, spec *swarm.ServiceSpec) error {
	var err error
	if spec.TaskTemplate.Networks, err = resolved(tx, spec.TaskTemplate.Networks); err != nil {
		return err
	}
	//lint:ignore SA1019 old clients still send it
	spec.Networks, err = resolved(tx, spec.Networks)
	return err
}

// resolved copies: fn of a transaction may run again.
func resolved(tx *store.Tx, targets []swarm.NetworkAttachmentConfig) ([]swarm.NetworkAttachmentConfig, error) {
	targets = slices.Clone(targets)
	for i, t := range targets {
		n, err := findNetwork(&tx.View, t.Target)
		if err != nil {
			return nil, err
		}
		if n.Spec.Ingress {
			return nil, badSpec("Service cannot be explicitly attached to the ingress network %q", n.Spec.Name)
		}
		for _, alias := range t.Aliases {
			if err := checkAlias(alias); err != nil {
				return nil, err
			}
		}
		targets[i].Target = n.ID
	}
	return targets, nil
}

// checkAlias refuses names that nobody can look up (RFC 1035, 2.3.4). Swarm takes them, and they never answer.
func checkAlias(alias string) error {
	if len(alias) > 253 || strings.ContainsFunc(alias, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return badSpec("network alias %q cannot be looked up: a name has at most 253 characters, and no spaces", alias)
	}
	for label := range strings.SplitSeq(alias, ".") {
		if label == "" || len(label) > 63 {
			return badSpec("network alias %q cannot be looked up: between dots there must be 1 to 63 characters", alias)
		}
	}
	return nil
}

func filesExist(v *store.View, c *swarm.ContainerSpec) error {
	var secrets, configs []string
	for _, s := range c.Secrets {
		if v.Secret(s.SecretID) == nil {
			secrets = append(secrets, s.SecretName)
		}
	}
	for _, f := range c.Configs {
		if v.Config(f.ConfigID) == nil {
			configs = append(configs, f.ConfigName)
		}
	}
	return errors.Join(missing("secret", secrets), missing("config", configs))
}

func missing(what string, names []string) error {
	switch len(names) {
	case 0:
		return nil
	case 1:
		return badSpec("%s not found: %s", what, names[0])
	}
	return badSpec("%ss not found: %s", what, strings.Join(names, ", "))
}
