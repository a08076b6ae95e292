package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"orch/internal/bus"
	"orch/worker/engine"
	"orch/worker/files"
	"orch/worker/network"
)

// Managers is the connection to the managers: bus.WorkerConn, or a fake in tests.
type Managers interface {
	Session(context.Context, bus.Session) (bus.Assignments, error)
	Next(context.Context) (bus.Assignments, error)
	Reconnected() <-chan struct{}
	// Elsewhere leaves the manager that the node is connected to for another.
	Elsewhere()
	Beat(context.Context, bus.Beat) (bus.Reply, error)
	Report(context.Context, bus.Report) (bus.Reply, error)
	// Image asks for a task's image from another node.
	Image(context.Context, bus.ImageRequest) (bus.ImageReply, error)
}

// Network is the node's part of the cluster's networks: package network, whose Run the caller starts, or none in tests.
type Network interface {
	// Apply puts names, VIPs and ports in force.
	Apply(context.Context, network.State) error
	// Ensure makes a network exist on the engine and returns the engine's name of it.
	Ensure(context.Context, bus.Network) (string, error)
	// DNS are the resolvers of a task on the networks.
	DNS(networks []string) []string
	// Attach brings a container that has just started into the networks, Detach one that has ended out.
	Attach(ctx context.Context, task, container string, pid int, networks []string) error
	Detach(task string)
	// Drain returns once a task that is out of rotation has taken up all that was sent to it, or does not in time.
	Drain(ctx context.Context, task string)
	// Encryption is how the node can encrypt overlay traffic, and its WireGuard key.
	Encryption() (ways []string, public string)
	// Conditions are what the node cannot do, UsedSubnets what is routed on it already.
	Conditions() []string
	// PortErrorsChanged has a value when other ports than before cannot be opened, which is a condition.
	PortErrorsChanged() <-chan struct{}
	UsedSubnets() ([]string, error)
	// Teardown takes everything of the networks off the node.
	Teardown(context.Context) error
}

// Config is what an agent needs.
type Config struct {
	NodeID    string
	ClusterID string
	// Dir holds the last assignments, RunDir the secrets in use (a tmpfs is mounted there).
	Dir, RunDir string
	// Address is where other nodes reach this one.
	Address string
	// TLSInfo is whose certificates the node trusts; Stand hears, often, what the managers want its certificate to be.
	TLSInfo func() swarm.TLSInfo
	Stand   func(standing string)

	// Told hears, after every message of the managers that says so, what the node is to be and where they
	// are. It must not block; nil hears nothing.
	Told func(role swarm.NodeRole, managers []string)

	Engine   engine.Engine
	Network  Network
	Managers Managers
	Log      *slog.Logger
}

// Agent runs the tasks of one node.
type Agent struct {
	Config
	files  *files.Store
	images *images
	link   *link
	saver  *saver
	inbox  chan func()
	reopen chan struct{}   // the engine did not answer: its events are to be asked for again
	life   context.Context // Run's; steps end with it
	steps  errgroup.Group

	// What follows belongs to Run's goroutine.
	tasks map[string]*task
	set   set
	// found are containers of tasks that no manager has confirmed or denied yet, by task.
	found map[string]engine.State
	// past is the state of the managers that the tasks are of, and doubts why the present one is not taken for its successor.
	past   past
	doubts string
	// confirmed says that the set is the managers', and not the one from disk.
	confirmed bool
	engineUp  bool
	slots     int // how many more bounded steps may run
	starts    []*task
	creates   []*task
	outbox    outbox
	rotation  rotation
	unsaved   bool
	waiting   map[string][]chan string // for the container of a task, by task
}

// inboxDepth lets senders go on while the agent is busy with a batch.
const inboxDepth = 256

// New is an agent that goes on from what is saved in its directory.
func New(ctx context.Context, cfg Config) (*Agent, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Log = cfg.Log.With("component", "worker")
	a := &Agent{
		Config: cfg, files: files.New(cfg.RunDir), images: newImages(cfg.Engine, cfg.Managers, cfg.Log), inbox: make(chan func(), inboxDepth), reopen: make(chan struct{}, 1),
		tasks: map[string]*task{}, set: newSet(), found: map[string]engine.State{}, slots: parallel,
		waiting: map[string][]chan string{}, outbox: outbox{statuses: map[string]bus.TaskStatus{}},
	}
	a.saver = newSaver(cfg.Dir)
	a.link = newLink(cfg, a.describe, func(ctx context.Context, set bus.Assignments) { a.post(ctx, func() { a.assign(set) }) })
	saved, err := a.saver.load()
	if err != nil {
		// The managers have it all; only a start without them is lost.
		a.Log.Warn("the saved assignments cannot be used", "err", err)
	}
	if saved.Set.Cluster == cfg.ClusterID {
		a.restore(saved)
	}
	return a, ctx.Err()
}

// Run works until the context ends. Containers run on after it.
func (a *Agent) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	a.life = ctx
	g.Go(func() error { return a.watch(ctx) })
	g.Go(func() error { return a.link.run(ctx) })
	g.Go(func() error { return a.saver.run(ctx) })
	g.Go(func() error { return a.watchPorts(ctx) })
	g.Go(func() error { a.loop(ctx); return nil })
	err := g.Wait()
	_ = a.steps.Wait() // steps hand their errors to the loop
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("run the worker: %w", err)
	}
	return nil
}

// loop owns the tasks. It takes what has come in as one batch, so that a burst of events costs one report.
func (a *Agent) loop(ctx context.Context) {
	a.applyRotation() // that of the saved set
	for {
		select {
		case do := <-a.inbox:
			do()
		case <-ctx.Done():
			return
		}
		for more := true; more; {
			select {
			case do := <-a.inbox:
				do()
			default:
				more = false
			}
		}
		a.dispatch()
		a.report()
		if a.unsaved {
			a.unsaved = false
			a.saver.save(a.snapshot())
		}
	}
}

// post hands something to the loop.
func (a *Agent) post(ctx context.Context, do func()) {
	select {
	case a.inbox <- do:
	case <-ctx.Done():
	}
}

// later hands something to the loop in a while.
func (a *Agent) later(d time.Duration, do func()) {
	a.steps.Go(func() error {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			a.post(a.life, do)
		case <-a.life.Done():
		}
		return nil
	})
}

// call runs something on the loop and waits for it.
func (a *Agent) call(ctx context.Context, do func()) error {
	done := make(chan struct{})
	a.post(ctx, func() { do(); close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
