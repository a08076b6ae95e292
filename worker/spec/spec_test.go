package spec

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/go-connections/nat"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"orch/internal/bus"
	"orch/internal/extra"
	"orch/worker/engine"
	"orch/worker/files"
)

func ptr[T any](v T) *T { return &v }

var node = swarm.NodeDescription{Hostname: "vm", Platform: swarm.Platform{OS: "linux", Architecture: "x86_64"}}

// task is the task that each case changes.
func task(change func(*bus.Task, *swarm.ContainerSpec)) *bus.Task {
	t := &bus.Task{
		Name: "st_web.2.t1", ServiceName: "st_web", ServiceLabels: map[string]string{"a": "b"},
		Task: swarm.Task{ID: "t1", ServiceID: "s1", NodeID: "n1", Slot: 2, Spec: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "nginx"}}},
	}
	if change != nil {
		change(t, t.Spec.ContainerSpec)
	}
	return t
}

var systemLabels = map[string]string{
	"com.docker.swarm.node.id": "n1", "com.docker.swarm.service.id": "s1", "com.docker.swarm.service.name": "st_web",
	"com.docker.swarm.task": "", "com.docker.swarm.task.id": "t1", "com.docker.swarm.task.name": "st_web.2.t1",
}

func with(labels map[string]string) map[string]string {
	for k, v := range systemLabels {
		labels[k] = v
	}
	return labels
}

func attachment(id, name string, labels map[string]string, addresses ...string) swarm.NetworkAttachment {
	n := swarm.Network{ID: id}
	n.Spec.Name, n.Spec.Labels = name, labels
	return swarm.NetworkAttachment{Network: n, Addresses: addresses}
}

func TestContainer(t *testing.T) {
	type result struct {
		Config   container.Config
		Host     container.HostConfig
		Networks []engine.Endpoint
	}
	place := Place{Node: node, DNS: []string{"10.0.1.1"}, Networks: map[string]string{"net1": "ovb1", "net2": "ovb2"}}
	for _, c := range []struct {
		name   string
		change func(*bus.Task, *swarm.ContainerSpec)
		want   func(*result)
	}{
		{"the least: image with a tag, Swarm's labels", nil, func(*result) {}},
		{"arguments keep the image's entry point", func(_ *bus.Task, s *swarm.ContainerSpec) { s.Args = []string{"-v"} },
			func(r *result) { r.Config.Cmd = []string{"-v"} }},
		{"a command replaces it", func(_ *bus.Task, s *swarm.ContainerSpec) { s.Command, s.Args = []string{"sh"}, []string{"-c", "x"} },
			func(r *result) { r.Config.Entrypoint, r.Config.Cmd = []string{"sh"}, []string{"-c", "x"} }},
		{"labels: nobody overrides Swarm's", func(_ *bus.Task, s *swarm.ContainerSpec) {
			s.Labels = map[string]string{"com.docker.swarm.task.id": "mine", "x": "y"}
		}, func(r *result) { r.Config.Labels = with(map[string]string{"x": "y"}) }},
		{"plain fields", func(_ *bus.Task, s *swarm.ContainerSpec) {
			s.User, s.Groups, s.Dir, s.StopSignal, s.TTY, s.OpenStdin, s.ReadOnly = "1:2", []string{"audio"}, "/w", "SIGQUIT", true, true, true
			s.Init, s.Isolation, s.Sysctls, s.CapabilityAdd, s.CapabilityDrop = ptr(true), "default", map[string]string{"net.a": "1"}, []string{"CAP_NET_ADMIN"}, []string{"ALL"}
			s.OomScoreAdj, s.Ulimits = 7, []*container.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}}
			s.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "x"}, Interval: time.Second, StartInterval: time.Second}
		}, func(r *result) {
			r.Config.User, r.Host.GroupAdd, r.Config.WorkingDir, r.Config.StopSignal, r.Config.Tty, r.Config.OpenStdin, r.Host.ReadonlyRootfs = "1:2", []string{"audio"}, "/w", "SIGQUIT", true, true, true
			r.Host.Init, r.Host.Isolation, r.Host.Sysctls, r.Host.CapAdd, r.Host.CapDrop = ptr(true), "default", map[string]string{"net.a": "1"}, []string{"CAP_NET_ADMIN"}, []string{"ALL"}
			r.Host.OomScoreAdj, r.Host.Ulimits = 7, []*container.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}}
			r.Config.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "x"}, Interval: time.Second, StartInterval: time.Second}
		}},
		{"limits, not reservations", func(t *bus.Task, _ *swarm.ContainerSpec) {
			t.Spec.Resources = &swarm.ResourceRequirements{Limits: &swarm.Limit{NanoCPUs: 5e8, MemoryBytes: 64 << 20, Pids: 9}, Reservations: &swarm.Resources{MemoryBytes: 1}}
		}, func(r *result) { r.Host.NanoCPUs, r.Host.Memory, r.Host.PidsLimit = 5e8, 64<<20, ptr(int64(9)) }},
		{"log driver", func(t *bus.Task, _ *swarm.ContainerSpec) {
			t.Spec.LogDriver = &swarm.Driver{Name: "json-file", Options: map[string]string{"max-size": "1m"}}
		}, func(r *result) {
			r.Host.LogConfig = container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "1m"}}
		}},
		{"privileges", func(_ *bus.Task, s *swarm.ContainerSpec) {
			s.Privileges = &swarm.Privileges{
				SELinuxContext: &swarm.SELinuxContext{Disable: true, Level: "s0"}, Seccomp: &swarm.SeccompOpts{Mode: swarm.SeccompModeCustom, Profile: []byte("{}")},
				AppArmor: &swarm.AppArmorOpts{Mode: swarm.AppArmorModeDisabled}, NoNewPrivileges: true,
			}
		}, func(r *result) {
			r.Host.SecurityOpt = []string{"label=disable", "label=level:s0", "seccomp={}", "apparmor=unconfined", "no-new-privileges=true"}
		}},
		{"hosts: no aliases", func(_ *bus.Task, s *swarm.ContainerSpec) { s.Hosts = []string{"1.2.3.4 db db.local", "bad"} },
			func(r *result) { r.Host.ExtraHosts = []string{"db:1.2.3.4"} }},
		{"generic resources", func(t *bus.Task, s *swarm.ContainerSpec) {
			s.Env = []string{"A=1"}
			t.GenericResources = []swarm.GenericResource{
				{NamedResourceSpec: &swarm.NamedGenericResource{Kind: "gpu", Value: "u1"}}, {NamedResourceSpec: &swarm.NamedGenericResource{Kind: "gpu", Value: "u2"}},
				{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: "ssd", Value: 3}},
			}
		}, func(r *result) { r.Config.Env = []string{"A=1", "DOCKER_RESOURCE_GPU=u1,u2", "DOCKER_RESOURCE_SSD=3"} }},
		{"ports in host mode only", func(t *bus.Task, _ *swarm.ContainerSpec) {
			t.Endpoint = &swarm.EndpointSpec{Ports: []swarm.PortConfig{
				{Protocol: "tcp", TargetPort: 80, PublishedPort: 8080, PublishMode: swarm.PortConfigPublishModeHost},
				{Protocol: "udp", TargetPort: 53, PublishMode: swarm.PortConfigPublishModeHost},
				{Protocol: "tcp", TargetPort: 443, PublishedPort: 443, PublishMode: swarm.PortConfigPublishModeIngress},
			}}
		}, func(r *result) {
			r.Config.ExposedPorts = nat.PortSet{"80/tcp": {}, "53/udp": {}}
			r.Host.PortBindings = nat.PortMap{"80/tcp": {{HostPort: "8080"}}, "53/udp": {{}}}
		}},
		{"templates", func(_ *bus.Task, s *swarm.ContainerSpec) {
			s.Hostname, s.Env = "{{.Node.Hostname}}-{{.Task.Slot}}", []string{"N={{.Service.Name}}", "L={{.Service.Labels}}"}
			s.Mounts = []mount.Mount{{Type: mount.TypeVolume, Source: "v{{.Task.Slot}}", Target: "/v", VolumeOptions: &mount.VolumeOptions{
				Labels: map[string]string{"t": "{{.Task.ID}}"}, DriverConfig: &mount.Driver{Name: "local", Options: map[string]string{"o": "{{.Node.ID}}"}}}}}
		}, func(r *result) {
			r.Config.Hostname, r.Config.Env = "vm-2", []string{"N=st_web", "L=map[a:b]"}
			r.Host.Mounts = []mount.Mount{{Type: mount.TypeVolume, Source: "v2", Target: "/v", VolumeOptions: &mount.VolumeOptions{
				Labels: map[string]string{"t": "t1"}, DriverConfig: &mount.Driver{Name: "local", Options: map[string]string{"o": "n1"}}}}}
		}},
		{"networks: allocated addresses, derived MACs, the worker's resolver first", func(t *bus.Task, s *swarm.ContainerSpec) {
			s.DNSConfig = &swarm.DNSConfig{Nameservers: []string{"9.9.9.9"}, Search: []string{"x"}, Options: []string{"ndots:1"}}
			t.NetworksAttachments = []swarm.NetworkAttachment{attachment("net1", "front", nil, "10.0.1.5/24", "fd00::5/64"), attachment("net2", "back", nil, "10.0.2.6/24")}
		}, func(r *result) {
			r.Host.DNS, r.Host.DNSSearch, r.Host.DNSOptions = []string{"10.0.1.1", "9.9.9.9"}, []string{"x"}, []string{"ndots:1"}
			r.Networks = []engine.Endpoint{
				{Network: "ovb1", Settings: &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: "10.0.1.5", IPv6Address: "fd00::5"}, MacAddress: "02:42:0a:00:01:05"}},
				{Network: "ovb2", Settings: &network.EndpointSettings{IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: "10.0.2.6"}, MacAddress: "02:42:0a:00:02:06"}},
			}
		}},
		{"the host's network", func(t *bus.Task, _ *swarm.ContainerSpec) {
			t.NetworksAttachments = []swarm.NetworkAttachment{attachment("h", "host", map[string]string{predefinedLabel: "true"})}
		}, func(r *result) { r.Host.NetworkMode = "host" }},
		{"extra", func(_ *bus.Task, s *swarm.ContainerSpec) {
			s.Labels = map[string]string{extra.Label: `{"privileged":true,"pid":"host"}`}
		}, func(r *result) {
			r.Config.Labels = with(map[string]string{extra.Label: `{"privileged":true,"pid":"host"}`})
			r.Host.Privileged, r.Host.PidMode = true, "host"
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			parsed, err := Parse(task(c.change), node)
			if err != nil {
				t.Fatal(err)
			}
			got, err := parsed.Container(place)
			if err != nil {
				t.Fatal(err)
			}
			want := result{Config: container.Config{Image: "nginx:latest", Labels: with(map[string]string{})}}
			c.want(&want)
			if d := cmp.Diff(want, result{*got.Config, *got.Host, got.Networks}, cmpopts.EquateEmpty()); d != "" || got.Name != "st_web.2.t1" {
				t.Errorf("%s (-want +got):\n%s", got.Name, d)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for want, change := range map[string]func(*bus.Task, *swarm.ContainerSpec){
		"dockerexec: image required":                                    func(_ *bus.Task, s *swarm.ContainerSpec) { s.Image = "" },
		"unsupported runtime":                                           func(t *bus.Task, _ *swarm.ContainerSpec) { t.Spec.ContainerSpec = nil },
		"invalid mount target, must be an absolute path: v":             mounted(mount.Mount{Type: mount.TypeVolume, Target: "v"}),
		"invalid bind mount source, must be an absolute path: x":        mounted(mount.Mount{Type: mount.TypeBind, Source: "x", Target: "/v"}),
		"invalid volume mount source, must not be an absolute path: /x": mounted(mount.Mount{Type: mount.TypeVolume, Source: "/x", Target: "/v"}),
		"invalid tmpfs source, source must be empty":                    mounted(mount.Mount{Type: mount.TypeTmpfs, Source: "x", Target: "/v"}),
		"invalid mount type: odd":                                       mounted(mount.Mount{Type: "odd", Target: "/v"}),
		`decode label orch.extra: json: unknown field "privilegd"`: func(_ *bus.Task, s *swarm.ContainerSpec) {
			s.Labels = map[string]string{extra.Label: `{"privilegd":true}`}
		},
		"expanding env failed: expanding env \"A={{.X}}\": template: expansion:1:2: executing \"expansion\" at <.X>: can't evaluate field X in type *template.Context": func(_ *bus.Task, s *swarm.ContainerSpec) {
			s.Env = []string{"A={{.X}}"}
		},
	} {
		if _, err := Parse(task(change), node); err == nil || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func mounted(m mount.Mount) func(*bus.Task, *swarm.ContainerSpec) {
	return func(_ *bus.Task, s *swarm.ContainerSpec) { s.Mounts = []mount.Mount{m} }
}

func TestFiles(t *testing.T) {
	parsed, err := Parse(task(func(_ *bus.Task, s *swarm.ContainerSpec) {
		s.Env = []string{"A=1"}
		s.Secrets = []*swarm.SecretReference{
			{SecretID: "s1", SecretName: "key", File: &swarm.SecretReferenceFileTarget{Name: "key", UID: "5", GID: "6", Mode: 0o400}},
			{SecretID: "s2", SecretName: "abs", File: &swarm.SecretReferenceFileTarget{Name: "/etc/abs", Mode: 0o444}},
		}
		s.Configs = []*swarm.ConfigReference{
			{ConfigID: "c1", ConfigName: "conf", File: &swarm.ConfigReferenceFileTarget{Name: "conf", Mode: 0o444}},
			{ConfigID: "c2", ConfigName: "runtime", Runtime: &swarm.ConfigReferenceRuntimeTarget{}},
		}
	}), node)
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]bus.Secret{"s1": {ID: "s1", Data: []byte("hush")}, "s2": {ID: "s2", Data: []byte("{{")}}
	configs := map[string]bus.Config{"c1": {ID: "c1", Data: []byte(`{{.Service.Name}} {{env "A"}} {{secret "key"}} {{config "conf"}}`), Templating: true}, "c2": {ID: "c2"}}
	got, err := parsed.Files(node, secrets, configs)
	want := []files.File{
		{Target: "/run/secrets/key", Data: []byte("hush"), UID: 5, GID: 6, Mode: 0o400},
		{Target: "/etc/abs", Data: []byte("{{"), Mode: 0o444},
		{Target: "/conf", Data: []byte(`st_web 1 hush {{.Service.Name}} {{env "A"}} {{secret "key"}} {{config "conf"}}`), Mode: 0o444},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil || parsed.FileCount() != len(want) {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	delete(secrets, "s1")
	if _, err := parsed.Files(node, secrets, configs); err == nil {
		t.Error("a secret that is not there was not missed")
	}
}
