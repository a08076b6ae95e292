package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"orch/test/lab"
	"orch/test/traffic"
)

const (
	// pairs are how often two ways are measured in turn. A figure compares the best quarter of each: what else runs on the
	// machine only ever slows a way down.
	pairs = 15
	// spell is how long one measurement takes.
	spell = "0.4"
	// parallel are the connections of a measurement of throughput.
	parallel = "8"
	// benchNet is the overlay that tasks are on.
	benchNet = "bench"
	// besideWeb is where haproxy listens, plainAddr the subnet of the VXLAN that is made by hand.
	besideWeb, plainAddr = 18080, "192.168.99."
)

// networked measures the ways of a packet, on three hosts: n1 has a client's task, n2 the server's, and n3 none.
func networked(ctx context.Context, b *bench) error {
	l, err := lab.Up(ctx, lab.Config{Hosts: 3})
	if err != nil {
		return err
	}
	return errors.Join(measureNetwork(ctx, b, l), l.Down())
}

// field is where the network is measured.
type field struct {
	*cluster
	hosts []*lab.Host
	// client is the ID of the client's container, on n1; server that of the server's, on n2.
	client, server string
	// overlay and ingress are the server's addresses, vip is its service's.
	overlay, ingress, vip string
}

func measureNetwork(ctx context.Context, b *bench, l *lab.Lab) error {
	if err := l.Load(ctx); err != nil {
		return err
	}
	f := &field{hosts: l.Hosts}
	var err error
	if f.cluster, err = startOrch(ctx, l.Hosts[0], b.orch); err != nil {
		return err
	}
	for _, h := range l.Hosts[1:] {
		if _, err := f.join(ctx, h, b.orch); err != nil {
			return err
		}
	}
	if err := f.place(ctx); err != nil {
		return err
	}
	for _, measure := range []func(context.Context, *bench) error{f.overlays, f.published, f.lookups, f.scale, f.updates} {
		if err := measure(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// place starts the server and its client.
func (f *field) place(ctx context.Context) error {
	if _, err := f.api.NetworkCreate(ctx, benchNet, network.CreateOptions{Driver: "overlay"}); err != nil {
		return err
	}
	on := func(name, host string, args ...string) swarm.ServiceSpec {
		s := service(name, 1)
		s.TaskTemplate.ContainerSpec.Args = args
		s.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.hostname==" + host}}
		s.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: benchNet}}
		return s
	}
	web := on("web", "n2", "serve", ":8080")
	web.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 8080, PublishedPort: publishedAt}}}
	for _, s := range []swarm.ServiceSpec{web, on("client", "n1", "sleep")} {
		if _, _, err := f.start(ctx, s); err != nil {
			return err
		}
	}
	server, err := f.running(ctx, "web")
	if err != nil || len(server) != 1 {
		return fmt.Errorf("%d tasks of web: %w", len(server), err)
	}
	client, err := f.running(ctx, "client")
	if err != nil || len(client) != 1 {
		return fmt.Errorf("%d tasks of client: %w", len(client), err)
	}
	f.server, f.client = server[0].Status.ContainerStatus.ContainerID, client[0].Status.ContainerStatus.ContainerID
	onNetwork := ""
	for _, a := range server[0].NetworksAttachments {
		addr, _, _ := strings.Cut(a.Addresses[0], "/")
		if a.Network.Spec.Name == benchNet {
			f.overlay = addr + ":8080"
			onNetwork = a.Network.ID
		} else {
			f.ingress = addr + ":8080"
		}
	}
	s, _, err := f.api.ServiceInspectWithRaw(ctx, "web", swarm.ServiceInspectOptions{})
	if err != nil {
		return err
	}
	for _, v := range s.Endpoint.VirtualIPs {
		if addr, _, _ := strings.Cut(v.Addr, "/"); v.NetworkID == onNetwork {
			f.vip = addr + ":8080"
		}
	}
	return nil
}

// sample is the JSON that the test program prints.
type sample struct {
	Seconds, P50, P99 float64
	Requests, Failed  int
	Bytes             int64
	Error             string
}

func (s sample) rate() float64  { return float64(s.Requests) / s.Seconds }
func (s sample) speed() float64 { return float64(s.Bytes) / 1e6 / s.Seconds }
func (s sample) delay() float64 { return s.P50 }

func parse(out string, err error) (s sample, _ error) {
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return s, fmt.Errorf("%w: %s", err, out)
	}
	if s.Requests == 0 {
		return s, fmt.Errorf("no answer: %s", s.Error)
	}
	return s, nil
}

// inClient runs the test program in the client's task.
func (f *field) inClient(ctx context.Context, args ...string) (sample, error) {
	return parse(f.hosts[0].Run(ctx, append([]string{"docker", "exec", f.client, "/app"}, args...)...))
}

// onHost runs the test program on n3 itself.
func (f *field) onHost(ctx context.Context, args ...string) (sample, error) {
	return parse(f.hosts[2].Run(ctx, append([]string{"docker", "run", "--rm", "--network=host", lab.Image}, args...)...))
}

// way is one way to the server.
type way struct {
	run     func(ctx context.Context, args ...string) (sample, error)
	address string
}

// kind is what is measured of a way.
type kind struct {
	name   string
	args   func(address string) []string
	value  func(sample) float64
	unit   string
	factor float64 // the target as a ratio
	atMost bool
}

func loading(how, path, clients string) func(string) []string {
	return func(address string) []string { return []string{"load", how, address, path, spell, clients} }
}

func keepAlive(factor float64) kind {
	return kind{"keep-alive requests", loading("keep", "/", parallel), sample.rate, "/s", factor, false}
}

func fresh(factor float64) kind {
	return kind{"new connections", loading("new", "/", parallel), sample.rate, "/s", factor, false}
}

func bulky(factor float64) kind {
	return kind{"bulk", loading("keep", "/bulk/16", "4"), sample.speed, "MB/s", factor, false}
}

// compare reports what of one way is by another, measured in turn.
func compare(ctx context.Context, b *bench, name string, own, other way, kinds ...kind) error {
	for _, k := range kinds {
		var values, others []float64
		for i := range pairs {
			for j := range 2 {
				w, into := own, &values
				if i%2 != j {
					w, into = other, &others
				}
				got, err := w.run(ctx, k.args(w.address)...)
				if err != nil {
					return fmt.Errorf("%s, %s, by %s: %w", name, k.name, w.address, err)
				}
				*into = append(*into, k.value(got))
			}
		}
		x, y := k.best(values), k.best(others)
		b.report(figure{
			name: name + ": " + k.name, value: x / y, target: k.factor, least: !k.atMost, unit: "×",
			beside: fmt.Sprintf("%.4g %s against %.4g %s", x, k.unit, y, k.unit),
		})
	}
	return nil
}

// best is the value that a quarter of all reach.
func (k kind) best(list []float64) float64 {
	slices.Sort(list)
	if !k.atMost {
		slices.Reverse(list)
	}
	return list[len(list)/4]
}

// overlays compares the overlay with a VXLAN made by hand between the same tasks, and the service's address with the task's.
func (f *field) overlays(ctx context.Context, b *bench) error {
	plain, err := f.plain(ctx)
	if err != nil {
		return err
	}
	delay := kind{"latency", loading("keep", "/", "1"), sample.delay, "ms", 1.1, true}
	if err := compare(ctx, b, "overlay by plain VXLAN", way{f.inClient, f.overlay}, way{f.inClient, plain}, bulky(0.95), keepAlive(0.95), delay); err != nil {
		return err
	}
	return compare(ctx, b, "VIP by the task's address", way{f.inClient, f.vip}, way{f.inClient, f.overlay}, keepAlive(0.95), fresh(0.95))
}

// plain gives both tasks a second device on a bridge with a VXLAN that learns, as one would by hand.
func (f *field) plain(ctx context.Context) (address string, err error) {
	for i, container := range []string{f.client, f.server} {
		script := fmt.Sprintf(`set -e
pid=$(docker inspect -f '{{.State.Pid}}' %s)
ip link add plainbr type bridge && ip link set plainbr up
ip link add plainvx type vxlan id 99 local %s remote %s dstport 4799
ip link set plainvx master plainbr && ip link set plainvx up
ip link add plain0 mtu 1450 type veth peer name plain1 mtu 1450 netns $pid
ip link set plain0 master plainbr && ip link set plain0 up
nsenter -t $pid -n sh -c 'ip addr add %s%d/24 dev plain1; ip link set plain1 up'`, container, f.hosts[i].Addr, f.hosts[1-i].Addr, plainAddr, i+1)
		if _, err := f.hosts[i].Run(ctx, "sh", "-c", script); err != nil {
			return "", err
		}
	}
	return plainAddr + "2:8080", nil
}

// published compares the two ways of a published port of n1, both to the task on n2, with what stands beside them. The client is n3. By
// IPv6 a port is answered by the daemon's listener.
func (f *field) published(ctx context.Context, b *bench) error {
	direct := way{f.onHost, f.ingress}
	kernel := way{f.onHost, fmt.Sprintf("%s:%d", f.hosts[0].Addr, publishedAt)}
	if err := compare(ctx, b, "published port by the task's address", kernel, direct, keepAlive(0.9), fresh(0.9), bulky(0.9)); err != nil {
		return err
	}
	local, err := f.hosts[0].Run(ctx, "sh", "-c", "ip -6 -o addr show dev eth0 scope link | awk '{print $4}' | cut -d/ -f1")
	if err != nil {
		return err
	}
	if err := f.haproxy(ctx); err != nil {
		fmt.Println("  not measured: the listener beside haproxy:", err)
		return nil
	}
	at := func(port int) way {
		return way{f.onHost, fmt.Sprintf("[%s%%eth0]:%d", strings.TrimSpace(local), port)}
	}
	return compare(ctx, b, "published port's listener by haproxy", at(publishedAt), at(besideWeb), keepAlive(1), fresh(1), bulky(1.4))
}

// haproxy leads a port of n1 to the same task.
func (f *field) haproxy(ctx context.Context) error {
	path := filepath.Join(f.hosts[0].Dir, "haproxy.cfg")
	config := fmt.Sprintf(`global
	maxconn 4000
defaults
	mode tcp
	timeout connect 1s
	timeout client 1m
	timeout server 1m
listen web
	bind :::%d v4v6
	server task %s
`, besideWeb, f.ingress)
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		return err
	}
	cmd := f.hosts[0].Command(context.WithoutCancel(ctx), "haproxy", "-db", "-f", path) // it ends with the host
	ended := make(chan error, 1)
	go func() {
		out, err := cmd.CombinedOutput()
		ended <- fmt.Errorf("%w: %s", err, out)
	}()
	return wait(ctx, func() (bool, error) {
		select {
		case err := <-ended:
			return false, err
		default:
		}
		c, err := f.hosts[0].Dial(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", besideWeb))
		if err == nil {
			c.Close()
		}
		return err == nil, nil
	})
}

// lookups asks dockerd's name server in the client's task for the service.
func (f *field) lookups(ctx context.Context, b *bench) error {
	calm, err := f.inClient(ctx, "names", "127.0.0.11:53", "web", "3", "1000", "4")
	if err != nil {
		return err
	}
	b.report(figure{name: "names: p99 at 1,000 questions a second", value: calm.P99, target: 1, unit: "ms", beside: fmt.Sprintf("p50 %.3f ms, %.0f/s", calm.P50, calm.rate())})
	busy, err := f.inClient(ctx, "names", "127.0.0.11:53", "web", "3", "10000", "64")
	if err != nil {
		return err
	}
	b.report(figure{name: "names: answers at 10,000 questions a second", value: busy.rate(), target: 9900, least: true, unit: "/s", beside: fmt.Sprintf("p99 %.1f ms", busy.P99)})
	b.report(figure{name: "names: failed of them", value: float64(busy.Failed), target: 0, unit: ""})
	return nil
}

// rollouts are the updates of a service that have to pass without one failed request.
const rollouts = 10

// updates replaces all ten tasks of the service again and again, under load through its address and through its published port.
func (f *field) updates(ctx context.Context, b *bench) error {
	current, _, err := f.api.ServiceInspectWithRaw(ctx, "web", swarm.ServiceInspectOptions{})
	if err != nil {
		return err
	}
	replicas := uint64(updated)
	spec := current.Spec
	spec.Mode.Replicated.Replicas = &replicas
	spec.TaskTemplate.Placement = nil
	spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: inParallel, Monitor: 100 * time.Millisecond, Order: swarm.UpdateOrderStartFirst}
	if err := f.update(ctx, spec); err != nil {
		return err
	}
	vip := f.hosts[0].Command(ctx, "docker", "exec", f.client, "/app", "load", "new", "web:8080", "/", "3600", "2")
	var out strings.Builder
	vip.Stdout = &out
	if err := vip.Start(); err != nil {
		return err
	}
	clients := traffic.Start(ctx, fmt.Sprintf("http://%s:%d/", f.hosts[0].Addr, publishedAt), f.hosts[2].Dial)
	for i := range rollouts {
		spec.TaskTemplate.ForceUpdate = uint64(i + 1)
		if err := f.update(ctx, spec); err != nil {
			return err
		}
	}
	port := end(clients)
	if _, err := f.hosts[0].Run(ctx, "sh", "-c", "kill -INT $(docker top "+f.client+" -eo pid,args | awk '/ load / {print $1}')"); err != nil {
		return err
	}
	_ = vip.Wait() // what it has to say is in its output
	calls, err := parse(out.String(), nil)
	if err != nil {
		return err
	}
	fmt.Printf("  %d requests by the service's address, %d failed %s, p99 %.1f ms\n", calls.Requests, calls.Failed, calls.Error, calls.P99)
	b.report(figure{name: fmt.Sprintf("%d updates of 10 tasks: failed requests by the VIP", rollouts), value: float64(calls.Failed), target: 0, unit: ""})
	b.report(figure{name: fmt.Sprintf("%d updates of 10 tasks: failed by the published port", rollouts), value: float64(port.Failed), target: 0, unit: ""})
	return nil
}

// update updates web and waits until all of its tasks are of the new version.
func (f *field) update(ctx context.Context, spec swarm.ServiceSpec) error {
	s, _, err := f.api.ServiceInspectWithRaw(ctx, "web", swarm.ServiceInspectOptions{})
	if err != nil {
		return err
	}
	if _, err := f.api.ServiceUpdate(ctx, s.ID, s.Version, spec, swarm.ServiceUpdateOptions{}); err != nil {
		return err
	}
	return wait(ctx, func() (bool, error) {
		tasks, err := f.running(ctx, "web")
		fresh := 0
		for _, t := range tasks {
			if t.Spec.ForceUpdate == spec.TaskTemplate.ForceUpdate {
				fresh++
			}
		}
		now, _, inspectErr := f.api.ServiceInspectWithRaw(ctx, "web", swarm.ServiceInspectOptions{})
		done := now.UpdateStatus == nil || now.UpdateStatus.State == swarm.UpdateStateCompleted
		return fresh == updated && len(tasks) == updated && done, errors.Join(err, inspectErr)
	})
}
