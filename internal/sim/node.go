package sim

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"orch/internal/bus"
	"orch/worker"
	"orch/worker/engine/sim"
	"orch/worker/network"
)

// Node is a machine with an engine and an agent.
type Node struct {
	ID      string
	Engine  *sim.Engine
	cluster *Cluster
	dir     string
	link    *link
	stop    func()
}

func (n *Node) start() {
	ctx, cancel := context.WithCancel(n.cluster.ctx)
	agent, err := worker.New(ctx, worker.Config{
		NodeID: n.ID, ClusterID: clusterID, Dir: n.dir, RunDir: n.dir + "/run", Address: "192.0.2.1",
		Engine: n.Engine, Network: noNetwork{}, Managers: n.link, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		n.cluster.t.Fatalf("start the agent of %s: %v", n.ID, err)
	}
	ended := n.cluster.spawn(func() {
		if err := agent.Run(ctx); err != nil {
			n.cluster.t.Errorf("agent of %s: %v", n.ID, err)
		}
	})
	n.stop = func() { cancel(); <-ended }
}

// Restart restarts the agent; containers run on.
func (n *Node) Restart() { n.stop(); n.start() }

// Reboot loses power and comes back: every container is as if killed.
func (n *Node) Reboot() {
	n.stop()
	n.Engine.Down()
	n.Engine.Up()
	n.start()
}

// Cut takes the node off the network, Heal brings it back.
func (n *Node) Cut()  { n.link.cut(true) }
func (n *Node) Heal() { n.link.cut(false); n.link.lossy(0); n.link.slow(0); n.Engine.Up() }

// Lossy loses that share of the messages between node and leader.
func (n *Node) Lossy(share float64) { n.link.lossy(share) }

// Slow delays each message between node and leader by up to delay.
func (n *Node) Slow(delay time.Duration) { n.link.slow(delay) }

// Running are the names of the containers that run.
func (n *Node) Running() (names []string) {
	for name, s := range n.Engine.Containers() {
		if s.Running() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// noNetwork has every network and does nothing.
type noNetwork struct{}

func (noNetwork) Apply(context.Context, network.State) error                  { return nil }
func (noNetwork) Ensure(_ context.Context, n bus.Network) (string, error)     { return n.ID, nil }
func (noNetwork) DNS([]string) []string                                       { return nil }
func (noNetwork) Attach(context.Context, string, string, int, []string) error { return nil }
func (noNetwork) Drain(context.Context, string)                               {}
func (noNetwork) Detach(string)                                               {}
func (noNetwork) Encryption() ([]string, string)                              { return nil, "" }
func (noNetwork) Conditions() []string                                        { return nil }
func (noNetwork) PortErrorsChanged() <-chan struct{}                          { return nil }
func (noNetwork) UsedSubnets() ([]string, error)                              { return nil, nil }
func (noNetwork) Teardown(context.Context) error                              { return nil }
