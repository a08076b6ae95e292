package main

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"

	"orch/test/lab"
)

// atOnce is how many containers the floor starts at a time, which is as many as dockerd gains from.
const atOnce = 4

// The floor is the same containers straight through the Docker API: nothing that starts containers can be faster.

func containers(ctx context.Context, api *client.Client, label string) (int, error) {
	list, err := api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", label))})
	return len(list), err
}

// startFloor times the start of n containers.
func startFloor(ctx context.Context, api *client.Client, n int) (ids []string, took time.Duration, err error) {
	begin := time.Now()
	ids = make([]string, n)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range n {
		group.Go(func() error {
			c, err := api.ContainerCreate(gctx, &container.Config{Image: lab.Image}, nil, nil, nil, fmt.Sprintf("floor-%d", i))
			if err != nil {
				return err
			}
			ids[i] = c.ID
			return api.ContainerStart(gctx, c.ID, container.StartOptions{})
		})
	}
	err = group.Wait()
	return ids, time.Since(begin), err
}

// stopFloor times the stop and removal of containers.
func stopFloor(ctx context.Context, api *client.Client, ids []string) (time.Duration, error) {
	begin := time.Now()
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, id := range ids {
		group.Go(func() error {
			if err := api.ContainerStop(gctx, id, container.StopOptions{}); err != nil {
				return err
			}
			return api.ContainerRemove(gctx, id, container.RemoveOptions{})
		})
	}
	err := group.Wait()
	return time.Since(begin), err
}
