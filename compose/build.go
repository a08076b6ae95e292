package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/registry"
)

// BuildOptions say what to build and where its output goes.
type BuildOptions struct {
	Services []string // empty: every service with build:
	NoCache  bool
	Pull     bool
	Auth     map[string]registry.AuthConfig // for pulling base images, by registry
	// Output is called with each line of the build's output.
	Output func(service, line string)
}

// ImageName is the image of a service that is built and gives none: stack-service, as docker compose has it.
func ImageName(p *types.Project, s types.ServiceConfig) string {
	if s.Image != "" {
		return s.Image
	}
	return p.Name + "-" + s.Name
}

// HasBuild reports whether a service of the project is to be built.
func (p *Project) HasBuild() bool {
	for _, s := range p.model.Services {
		if s.Build != nil {
			return true
		}
	}
	return false
}

// Build builds the services' images one after the other with the engine's classic builder, which every engine has, and
// returns their ids for Convert.
func Build(ctx context.Context, cli Builder, p *Project, o BuildOptions) (Images, error) {
	images := Images{}
	for _, name := range p.Services() {
		s := p.model.Services[name]
		if s.Build == nil || len(o.Services) > 0 && !slices.Contains(o.Services, name) {
			continue
		}
		id, err := buildService(ctx, cli, p, s, o)
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", name, err)
		}
		images[name] = id
	}
	return images, nil
}

// LocalImages are the ids that the images of services with build: have on the engine now, for a deploy without a build: so
// that the plan is the same as after a build that changed nothing.
func LocalImages(ctx context.Context, cli Builder, p *Project) (Images, error) {
	images := Images{}
	for _, name := range p.Services() {
		s := p.model.Services[name]
		if s.Build == nil {
			continue
		}
		got, err := cli.ImageInspect(ctx, ImageName(p.model, s))
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("inspect image %s: %w", ImageName(p.model, s), err)
		}
		images[name] = got.ID
	}
	return images, nil
}

func buildService(ctx context.Context, cli Builder, p *Project, s types.ServiceConfig, o BuildOptions) (string, error) {
	b := s.Build
	if len(b.Platforms) > 1 {
		return "", fmt.Errorf("platforms: the classic builder makes one platform, not %s", strings.Join(b.Platforms, ", "))
	}
	options := buildOptions(p, s, o)
	var body io.ReadCloser = io.NopCloser(strings.NewReader(""))
	if remoteContext(b.Context) {
		options.RemoteContext = b.Context
		if b.DockerfileInline != "" {
			return "", errors.New("dockerfile_inline: not possible with a context that the engine fetches")
		}
		options.Dockerfile = b.Dockerfile
	} else {
		var err error
		if body, options.Dockerfile, err = buildContext(b); err != nil {
			return "", err
		}
	}
	defer body.Close()
	response, err := cli.ImageBuild(ctx, body, options)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	id, err := follow(response.Body, func(line string) {
		if o.Output != nil {
			o.Output(s.Name, line)
		}
	})
	if err != nil {
		return "", err
	}
	if id == "" {
		image, err := cli.ImageInspect(ctx, options.Tags[0])
		if err != nil {
			return "", fmt.Errorf("inspect the image that was built: %w", err)
		}
		id = image.ID
	}
	return id, nil
}

func buildOptions(p *Project, s types.ServiceConfig, o BuildOptions) build.ImageBuildOptions {
	b := s.Build
	options := build.ImageBuildOptions{
		Version: build.BuilderV1, Tags: append([]string{ImageName(p.model, s)}, b.Tags...), Remove: true, ForceRemove: true,
		BuildArgs: map[string]*string{}, Labels: b.Labels, Target: b.Target, NetworkMode: b.Network, ShmSize: int64(b.ShmSize), CacheFrom: b.CacheFrom,
		NoCache: b.NoCache || o.NoCache, PullParent: b.Pull || o.Pull, Isolation: container.Isolation(b.Isolation), AuthConfigs: o.Auth,
	}
	for k, v := range b.Args {
		options.BuildArgs[k] = v
	}
	for host, ips := range b.ExtraHosts {
		for _, ip := range ips {
			options.ExtraHosts = append(options.ExtraHosts, host+":"+ip)
		}
	}
	slices.Sort(options.ExtraHosts)
	for name, u := range b.Ulimits {
		limit := &container.Ulimit{Name: name, Soft: int64(u.Soft), Hard: int64(u.Hard)}
		if u.Single != 0 {
			limit.Soft, limit.Hard = int64(u.Single), int64(u.Single)
		}
		options.Ulimits = append(options.Ulimits, limit)
	}
	if len(b.Platforms) == 1 {
		options.Platform = b.Platforms[0]
	} else if s.Platform != "" {
		options.Platform = s.Platform
	}
	return options
}

func remoteContext(context string) bool {
	for _, prefix := range []string{"http://", "https://", "git://", "git@", "github.com/", "ssh://"} {
		if strings.HasPrefix(context, prefix) {
			return true
		}
	}
	return false
}

// follow reads the engine's stream of JSON messages: lines for output, the image's id, or the build's error.
func follow(r io.Reader, output func(line string)) (id string, err error) {
	d := json.NewDecoder(r)
	for {
		var m struct {
			Stream   string `json:"stream"`
			Status   string `json:"status"`
			ID       string `json:"id"`
			Progress string `json:"progress"`
			Error    string `json:"error"`
			Aux      struct {
				ID string `json:"ID"`
			} `json:"aux"`
		}
		if err := d.Decode(&m); err == io.EOF {
			return id, nil
		} else if err != nil {
			return "", fmt.Errorf("read the build's output: %w", err)
		}
		if m.Error != "" {
			return "", errors.New(m.Error)
		}
		if m.Aux.ID != "" {
			id = m.Aux.ID
		}
		// Of a pull's many lines a second, those with a progress bar say nothing that lasts.
		if m.Status != "" && m.Progress == "" {
			m.Stream = strings.TrimSpace(m.ID + " " + m.Status)
		}
		for line := range strings.Lines(m.Stream) {
			if line = strings.TrimRight(line, "\r\n"); line != "" {
				output(line)
			}
		}
	}
}
