// Package docker is the engine.Engine that production runs on: a dockerd, 20.10 to 29, through its API at the version
// that both sides speak. It holds nothing but the connection.
package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"

	"orch/worker/engine"
)

// perEndpointMAC is the first API version in which each endpoint has a MAC address and a health check a start interval.
// Older engines derive the address from the IP address themselves, by the same rule as orch.
const perEndpointMAC = "1.44"

// Engine is a dockerd.
type Engine struct {
	client *client.Client
}

// New is the dockerd behind a client that negotiates its API version.
func New(c *client.Client) *Engine { return &Engine{client: c} }

var _ engine.Engine = (*Engine)(nil)

// Info describes the engine.
func (e *Engine) Info(ctx context.Context) (system.Info, error) {
	info, err := e.client.Info(ctx)
	if err != nil {
		return info, fmt.Errorf("ask the engine about itself: %w", err)
	}
	return info, nil
}

// Alive asks over a connection of its own: dockerd closes its listener first of all, and serves on what is open.
func (e *Engine) Alive(ctx context.Context) error {
	conn, err := e.client.Dialer()(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", engine.ErrUnavailable, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	r, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://docker/_ping", nil)
	if err != nil {
		return err
	}
	if err = r.Write(conn); err == nil {
		_, err = http.ReadResponse(bufio.NewReader(conn), r) // without a body
	}
	if err != nil {
		return fmt.Errorf("%w: %w", engine.ErrUnavailable, err)
	}
	return nil
}

// Image is a local image.
func (e *Engine) Image(ctx context.Context, ref string) (engine.Image, error) {
	i, err := e.client.ImageInspect(ctx, ref)
	if err != nil {
		return engine.Image{}, plain(err)
	}
	return engine.Image{ID: i.ID, Pulled: len(i.RepoDigests) > 0, Tagged: i.Metadata.LastTagTime}, nil
}

// Pull brings an image here.
func (e *Engine) Pull(ctx context.Context, ref, auth string) error {
	progress, err := e.client.ImagePull(ctx, ref, image.PullOptions{RegistryAuth: auth})
	if err != nil {
		return plain(err)
	}
	defer progress.Close()
	for d := json.NewDecoder(progress); ; {
		var line struct{ Error string }
		switch err := d.Decode(&line); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the progress of the pull: %w", err)
		case line.Error != "":
			return errors.New(line.Error)
		}
	}
}

// Create makes a container. Engines before API 1.44 take one network at creation; the others are connected after.
func (e *Engine) Create(ctx context.Context, c engine.Container) (string, error) {
	old := versions.LessThan(e.client.ClientVersion(), perEndpointMAC)
	config, host, first, rest := arrange(c, old)
	made, err := e.client.ContainerCreate(ctx, config, host, first, nil, c.Name)
	if err != nil {
		return "", plain(err)
	}
	for _, n := range rest {
		if err := e.client.NetworkConnect(ctx, n.Network, made.ID, n.Settings); err != nil {
			err = fmt.Errorf("connect to network %s: %w", n.Network, plain(err))
			return "", errors.Join(err, e.Remove(context.WithoutCancel(ctx), made.ID))
		}
	}
	return made.ID, nil
}

// arrange fits a container to the engine's API version: what the first call takes, and what is left to connect.
func arrange(c engine.Container, old bool) (*container.Config, *container.HostConfig, *network.NetworkingConfig, []engine.Endpoint) {
	config, host := *c.Config, *c.Host
	networks := make([]engine.Endpoint, len(c.Networks))
	for i, n := range c.Networks {
		settings := *n.Settings
		if old {
			settings.MacAddress = ""
		}
		networks[i] = engine.Endpoint{Network: n.Network, Settings: &settings}
	}
	if old && config.Healthcheck != nil && config.Healthcheck.StartInterval != 0 {
		check := *config.Healthcheck
		check.StartInterval = 0
		config.Healthcheck = &check
	}
	if len(networks) == 0 {
		return &config, &host, nil, nil
	}
	if host.NetworkMode == "" {
		host.NetworkMode = container.NetworkMode(networks[0].Network)
	}
	now := networks
	if old {
		now = networks[:1]
	}
	first := &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{}}
	for _, n := range now {
		first.EndpointsConfig[n.Network] = n.Settings
	}
	return &config, &host, first, networks[len(now):]
}

// Start starts a container.
func (e *Engine) Start(ctx context.Context, id string) error {
	return plain(e.client.ContainerStart(ctx, id, container.StartOptions{}))
}

// Stop stops a container.
func (e *Engine) Stop(ctx context.Context, id string, grace *time.Duration) error {
	var o container.StopOptions
	if grace != nil {
		// The API counts in seconds; a task gets no less than it was promised.
		seconds := int((*grace + time.Second - 1) / time.Second)
		o.Timeout = &seconds
	}
	return plain(e.client.ContainerStop(ctx, id, o))
}

// Remove takes a container away.
func (e *Engine) Remove(ctx context.Context, id string) error {
	err := e.client.ContainerRemove(ctx, id, container.RemoveOptions{RemoveVolumes: true, Force: true})
	if cerrdefs.IsConflict(err) { // someone else is at it
		gone, failed := e.client.ContainerWait(ctx, id, container.WaitConditionRemoved)
		select {
		case <-gone:
			err = nil
		case err = <-failed:
		}
	}
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return plain(err)
}

// Inspect is a container's state.
func (e *Engine) Inspect(ctx context.Context, id string) (engine.State, error) {
	c, err := e.client.ContainerInspect(ctx, id)
	if err != nil {
		return engine.State{}, plain(err)
	}
	return state(c), nil
}

func state(c container.InspectResponse) engine.State {
	s := engine.State{ID: c.ID, Name: strings.TrimPrefix(c.Name, "/")}
	if c.State != nil {
		s.Status, s.PID, s.ExitCode, s.Error = c.State.Status, c.State.Pid, c.State.ExitCode, c.State.Error
		if c.State.Health != nil && c.State.Health.Status != container.NoHealthcheck {
			s.Health = c.State.Health.Status
		}
	}
	if c.Config != nil {
		s.Labels, s.TTY = c.Config.Labels, c.Config.Tty
	}
	if c.NetworkSettings != nil {
		s.Ports = ports(c.NetworkSettings)
	}
	return s
}

// ports are the published ports in a steady order, without the doubles that an engine with IPv6 reports.
func ports(n *container.NetworkSettings) []swarm.PortConfig {
	var out []swarm.PortConfig
	seen := map[swarm.PortConfig]bool{}
	for _, port := range sorted(n.Ports) {
		for _, binding := range n.Ports[port] {
			published, err := strconv.ParseUint(binding.HostPort, 10, 16)
			if err != nil {
				continue
			}
			p := swarm.PortConfig{
				Protocol: swarm.PortConfigProtocol(port.Proto()), TargetPort: uint32(port.Int()),
				PublishedPort: uint32(published), PublishMode: swarm.PortConfigPublishModeHost,
			}
			if !seen[p] {
				seen[p] = true
				out = append(out, p)
			}
		}
	}
	return out
}

// List is every container with a label.
func (e *Engine) List(ctx context.Context, label, value string) ([]engine.State, error) {
	list, err := e.client.ContainerList(ctx, container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", label+"="+value)),
	})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", plain(err))
	}
	out := make([]engine.State, len(list))
	for i, c := range list {
		out[i] = engine.State{ID: c.ID, Labels: c.Labels, Status: c.State}
		if len(c.Names) > 0 {
			out[i].Name = strings.TrimPrefix(c.Names[0], "/")
		}
	}
	return out, nil
}
