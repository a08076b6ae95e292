package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"orch/internal/bus"
	orchnet "orch/worker/network"
	"orch/worker/network/overlay"
)

// scaleNode is this program's argument when it is one node of a large cluster.
const scaleNode = "scale-node"

// A large cluster: what one of its nodes has to know, and what runs on it.
const (
	scaleServices, scaleTasks, scaleNodes, scaleContainers = 500, 10, 10, 50

	scaleNet, scaleVNI = "scale", 99999
	scaleChanges       = 21
	scaleIdle          = 15 * time.Second
)

// scaled is what a node has measured.
type scaled struct{ Fresh, Change, Worst, Idle float64 }

// scale measures one node's programming in a cluster of 500 services of 10 tasks, on n3.
func (f *field) scale(ctx context.Context, b *bench) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	out, err := f.hosts[2].Run(ctx, self, scaleNode)
	if err != nil {
		return err
	}
	var s scaled
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	b.report(figure{name: "500 services: a fresh node with 50 tasks is programmed", value: s.Fresh, target: 3, unit: "s"})
	b.report(figure{name: "500 services: one task's change on that node", value: s.Change, target: 0.2, unit: "s", beside: fmt.Sprintf("worst %.3f s", s.Worst)})
	b.report(figure{name: "500 services: processor while nothing changes", value: s.Idle, target: 1, unit: "%"})
	return nil
}

// measureNode is what runs as a node.
func measureNode(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "orch-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	node, err := orchnet.New(ctx, orchnet.Config{
		NodeID: "n0", Docker: &bareEngine{}, Underlay: "192.0.2.1", StateDir: dir, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	state := largeState()
	if _, err := node.Ensure(ctx, state.Networks[0]); err != nil {
		return err
	}
	tasks, stop, err := namespaces(ctx)
	defer stop()
	if err != nil {
		return err
	}
	var out scaled
	begin := time.Now()
	if err := node.Apply(ctx, state); err != nil {
		return err
	}
	var attached errgroup.Group
	attached.SetLimit(atOnce)
	for i, pid := range tasks {
		attached.Go(func() error { return node.Attach(ctx, fmt.Sprint("task", i), "", pid, []string{scaleNet}) })
	}
	if err := attached.Wait(); err != nil {
		return err
	}
	out.Fresh = time.Since(begin).Seconds()

	life, end := context.WithCancel(ctx)
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- node.Run(life) }()
	var took []time.Duration
	for i := range scaleChanges {
		s := state.Services[i*20]
		s.Backends = slices.Delete(slices.Clone(s.Backends), 3, 4)
		state.Services = slices.Clone(state.Services)
		state.Services[i*20] = s
		begin := time.Now()
		if err := node.Apply(ctx, state); err != nil {
			return err
		}
		took = append(took, time.Since(begin))
	}
	out.Change, out.Worst = median(took), percentile(took, 1)
	select { // the last change's own aftermath
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
	}
	before := used()
	select {
	case <-time.After(scaleIdle):
	case <-ctx.Done():
	}
	out.Idle = 100 * (used() - before).Seconds() / scaleIdle.Seconds()
	end()
	<-ended
	if err := node.Teardown(ctx); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// used is the processor's time of this process and of what it ran.
func used() time.Duration {
	total := time.Duration(0)
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err == nil {
			total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return total
}

// namespaces are those of containers that do nothing.
func namespaces(ctx context.Context) (pids []int, stop func(), err error) {
	ctx, stop = context.WithCancel(ctx)
	for range scaleContainers {
		cmd := exec.CommandContext(ctx, "sleep", "3600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return nil, stop, err
		}
		go func() { _ = cmd.Wait() }()
		pids = append(pids, cmd.Process.Pid)
	}
	return pids, stop, nil
}

// largeState is all services on one network, their tasks spread over the nodes, and every tenth of them published.
func largeState() orchnet.State {
	addr := netip.MustParseAddr("10.64.0.1")
	next := func() string { addr = addr.Next(); return addr.String() }
	w := bus.Network{ID: scaleNet, Name: scaleNet, VNI: scaleVNI, Subnet: "10.64.0.0/16", Gateway: "10.64.0.1", NodeIP: next()}
	for i := range scaleNodes - 1 {
		w.Peers = append(w.Peers, bus.Peer{NodeID: fmt.Sprint("n", i+1), Underlay: fmt.Sprint("192.0.2.", i+2), NodeIP: next()})
	}
	state := orchnet.State{Networks: []bus.Network{w}}
	for i := range scaleServices {
		s := bus.Service{ID: fmt.Sprint("s", i), Name: fmt.Sprint("service", i), VIPs: map[string]string{scaleNet: next()}}
		if i%10 == 0 {
			s.Ports = []swarm.PortConfig{{TargetPort: 80, PublishedPort: uint32(20000 + i)}}
		}
		for j := range scaleTasks {
			s.Tasks = append(s.Tasks, bus.Backend{
				TaskID: fmt.Sprint("t", i, ".", j), Slot: j + 1, NodeID: fmt.Sprint("n", (i+j)%scaleNodes), Addrs: map[string]string{scaleNet: next()},
			})
		}
		s.Backends = s.Tasks
		state.Services = append(state.Services, s)
	}
	return state
}

// bareEngine makes bridges as dockerd does, and nothing else.
type bareEngine struct{ made []network.Summary }

func (e *bareEngine) Info(context.Context) (system.Info, error) { return system.Info{}, nil }

func (e *bareEngine) NetworkList(context.Context, network.ListOptions) ([]network.Summary, error) {
	return slices.Clone(e.made), nil
}

func (e *bareEngine) NetworkInspect(context.Context, string, network.InspectOptions) (network.Inspect, error) {
	if len(e.made) == 0 {
		return network.Inspect{}, errors.New("no such network")
	}
	return network.Inspect{}, nil
}

func (e *bareEngine) NetworkCreate(_ context.Context, name string, o network.CreateOptions) (network.CreateResponse, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = overlay.Bridge(scaleVNI)
	br := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(br); err != nil {
		return network.CreateResponse{}, err
	}
	e.made = append(e.made, network.Summary{ID: strconv.Itoa(scaleVNI), Name: name, Labels: o.Labels, Options: o.Options})
	return network.CreateResponse{ID: strconv.Itoa(scaleVNI)}, netlink.LinkSetUp(br)
}

func (e *bareEngine) NetworkRemove(context.Context, string) error {
	e.made = nil
	return nil
}
