package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

// Leave takes everything of the node's tasks away: containers, networks, secrets and what was saved. Run must have ended.
func (a *Agent) Leave(ctx context.Context) error {
	list, err := a.list(ctx)
	if err != nil {
		return fmt.Errorf("find the node's containers: %w", err)
	}
	grace := map[string]*time.Duration{}
	for _, t := range a.tasks {
		if c := t.Spec.ContainerSpec; c != nil {
			grace[t.container] = c.StopGracePeriod
		}
	}
	var g errgroup.Group
	for _, c := range list {
		g.Go(func() error {
			if c.Running() {
				if err := a.Engine.Stop(ctx, c.ID, grace[c.ID]); err != nil {
					a.Log.Warn("a container did not stop and is killed", "container", c.Name, "err", err)
				}
			}
			if err := a.Engine.Remove(ctx, c.ID); err != nil {
				return fmt.Errorf("remove container %s: %w", c.Name, err)
			}
			return nil
		})
	}
	err = errors.Join(g.Wait(), a.Network.Teardown(ctx), a.files.Close())
	if gone := os.Remove(a.saver.path); !errors.Is(gone, os.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}
