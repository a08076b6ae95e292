package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
)

// changeTries is how often a change is tried again when somebody else has changed the same service in between.
const changeTries = 5

// change reads a service's spec, lets edit change it and writes it back, and returns the service's name.
func (a *app) change(ctx context.Context, cli *client.Client, ref string, edit func(*swarm.ServiceSpec) error) (string, error) {
	for try := 1; ; try++ {
		s, _, err := cli.ServiceInspectWithRaw(ctx, ref, swarm.ServiceInspectOptions{})
		if err != nil {
			return "", noService(err, ref)
		}
		if err := edit(&s.Spec); err != nil {
			return "", err
		}
		resp, err := cli.ServiceUpdate(ctx, s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{RegistryAuthFrom: swarm.RegistryAuthFromSpec})
		if err != nil {
			if try < changeTries && outOfSequence(err) {
				continue
			}
			return "", fmt.Errorf("update service %s: %w", s.Spec.Name, err)
		}
		for _, w := range resp.Warnings {
			fmt.Fprintln(a.err, "warning: "+w)
		}
		return s.Spec.Name, nil
	}
}

// outOfSequence is Swarm's answer to a write that is based on an older version.
func outOfSequence(err error) bool { return strings.Contains(err.Error(), "update out of sequence") }

func noService(err error, ref string) error {
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("no service %q: `orch services` shows what there is", ref)
	}
	return err
}
