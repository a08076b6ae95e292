package docker_test

import (
	"context"
	"testing"

	"github.com/docker/docker/api/types/image"

	"orch/worker/engine/docker"
	"orch/worker/engine/enginetest"
)

func TestEngine(t *testing.T) {
	c := enginetest.Docker(t)
	const name = "orch-enginetest:latest"
	enginetest.BuildImage(t, c, name)
	t.Cleanup(func() {
		if _, err := c.ImageRemove(context.WithoutCancel(t.Context()), name, image.RemoveOptions{Force: true}); err != nil {
			t.Errorf("remove the test image: %v", err)
		}
	})
	enginetest.Run(t, enginetest.Subject{Engine: docker.New(c), Image: name, Prefix: "orch-enginetest-"})
}
