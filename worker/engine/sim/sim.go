// Package sim is an engine in memory: containers that start, turn healthy, exit and fail as they are told, in the time that
// they are told. It has no goroutines of its own, only timers, so it is at home in testing/synctest.
//
// A container's command says what its process does, as the test image of package enginetest has it: "sleep" (until its stop
// signal), "ignore" (the stop signal too), "exit N", "print TEXT". A health check ends well
// if its last word is "ok".
package sim

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"

	"orch/worker/engine"
)

// Config is what a simulated engine is like. The zero value is fast and has no images.
type Config struct {
	Info system.Info
	// Images are local from the beginning.
	Images []string
	// Pull is the registry; nil is none that answers.
	Pull func(ref string) error
	// What each step takes.
	PullTime, CreateTime, StartTime time.Duration
}

// errDown is what a client hears when nobody listens on the socket.
var errDown = fmt.Errorf("%w: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", engine.ErrUnavailable)

// killedCode is the exit code of a process that was killed.
const killedCode = 137

// Engine is a simulated engine.
type Engine struct {
	cfg Config

	mu         sync.Mutex // guards what follows
	down       bool
	images     map[string]engine.Image
	containers map[string]*process
	streams    map[*stream]bool
	faults     map[Op][]error
	calls      map[Op]int
}

// Op names a method of the engine.
type Op string

// The methods that can be told to fail.
const (
	OpCreate Op = "create"
	OpStart  Op = "start"
	OpStop   Op = "stop"
	OpRemove Op = "remove"
	OpPull   Op = "pull"
	OpExec   Op = "exec"
)

// process is a container and what its process does.
type process struct {
	engine.State
	config container.Config
	ended  chan struct{} // closed when the process ends; made again at each start
	timers []*time.Timer
	output []byte
}

var _ engine.Engine = (*Engine)(nil)

// New is an engine without containers.
func New(cfg Config) *Engine {
	e := &Engine{
		cfg: cfg, images: map[string]engine.Image{}, containers: map[string]*process{},
		streams: map[*stream]bool{}, faults: map[Op][]error{}, calls: map[Op]int{},
	}
	for _, ref := range cfg.Images {
		e.images[ref] = engine.Image{ID: "sha256:" + ref, Tagged: time.Now()}
	}
	return e
}

// FailNext makes the next call of a method fail.
func (e *Engine) FailNext(op Op, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults[op] = append(e.faults[op], err)
}

// Calls counts the calls of a method.
func (e *Engine) Calls(op Op) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[op]
}

// Containers are all of the engine's, by name.
func (e *Engine) Containers() map[string]engine.State {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[string]engine.State{}
	for _, p := range e.containers {
		out[p.Name] = p.State
	}
	return out
}

// begin counts a call, and fails it if it is to fail. It takes as long as the call does.
func (e *Engine) begin(ctx context.Context, op Op, takes time.Duration) error {
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls[op]++
	if faults := e.faults[op]; len(faults) > 0 {
		e.faults[op] = faults[1:]
		return faults[0]
	}
	if e.down {
		return errDown
	}
	return ctx.Err()
}

// Info describes the engine.
func (e *Engine) Info(ctx context.Context) (system.Info, error) {
	return e.cfg.Info, e.begin(ctx, "info", 0)
}

// Alive says whether the engine is up.
func (e *Engine) Alive(ctx context.Context) error { return e.begin(ctx, "alive", 0) }

// Image is a local image.
func (e *Engine) Image(ctx context.Context, ref string) (engine.Image, error) {
	if err := e.begin(ctx, "image", 0); err != nil {
		return engine.Image{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	i, ok := e.images[ref]
	if !ok {
		return i, noImage(ref)
	}
	return i, nil
}

func noImage(ref string) error {
	return &failure{text: "No such image: " + ref, is: engine.ErrNotFound}
}

// failure is an error in the engine's own words.
type failure struct {
	text string
	is   error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.is }

// Pull brings an image here.
func (e *Engine) Pull(ctx context.Context, ref, _ string) error {
	if err := e.begin(ctx, OpPull, e.cfg.PullTime); err != nil {
		return err
	}
	if e.cfg.Pull == nil {
		return errors.New("dial tcp: lookup registry-1.docker.io: no such host")
	}
	if err := e.cfg.Pull(ref); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.images[ref] = engine.Image{ID: "sha256:" + ref, Pulled: true, Tagged: time.Now()}
	return nil
}

// Create makes a container.
func (e *Engine) Create(ctx context.Context, c engine.Container) (string, error) {
	if err := e.begin(ctx, OpCreate, e.cfg.CreateTime); err != nil {
		return "", err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.images[c.Config.Image]; !ok {
		return "", noImage(c.Config.Image)
	}
	if p := e.find(c.Name); p != nil {
		return "", &failure{text: fmt.Sprintf("Conflict. The container name %q is already in use by container %q.", "/"+c.Name, p.ID), is: engine.ErrConflict}
	}
	p := &process{config: *c.Config, ended: make(chan struct{})}
	p.ID, p.Name, p.Labels, p.Status, p.TTY = newID(), c.Name, maps.Clone(c.Config.Labels), container.StateCreated, c.Config.Tty
	for port, bindings := range c.Host.PortBindings {
		for _, b := range bindings {
			published, _ := strconv.Atoi(b.HostPort)
			p.Ports = append(p.Ports, swarm.PortConfig{
				Protocol: swarm.PortConfigProtocol(port.Proto()), TargetPort: uint32(port.Int()),
				PublishedPort: uint32(published), PublishMode: swarm.PortConfigPublishModeHost,
			})
		}
	}
	e.containers[p.ID] = p
	return p.ID, nil
}

func newID() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // does not fail
	return hex.EncodeToString(b)
}

// find is a container by ID or name. The caller holds mu.
func (e *Engine) find(id string) *process {
	if p := e.containers[id]; p != nil {
		return p
	}
	for _, p := range e.containers {
		if p.Name == id {
			return p
		}
	}
	return nil
}

func noContainer(id string) error {
	return &failure{text: "No such container: " + id, is: engine.ErrNotFound}
}

// Inspect is a container's state.
func (e *Engine) Inspect(ctx context.Context, id string) (engine.State, error) {
	if err := e.begin(ctx, "inspect", 0); err != nil {
		return engine.State{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.find(id)
	if p == nil {
		return engine.State{}, noContainer(id)
	}
	return p.State, nil
}

// List is every container with a label.
func (e *Engine) List(ctx context.Context, label, value string) ([]engine.State, error) {
	if err := e.begin(ctx, "list", 0); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []engine.State
	for _, id := range slices.Sorted(maps.Keys(e.containers)) {
		if p := e.containers[id]; p.Labels[label] == value {
			out = append(out, engine.State{ID: p.ID, Name: p.Name, Labels: p.Labels, Status: p.Status})
		}
	}
	return out, nil
}
