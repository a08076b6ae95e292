// Package engine is the one seam of the worker: what a task runs on. Package docker puts dockerd behind it, package
// sim a simulation in memory; both pass the suite of package enginetest.
//
// An Engine does what it is told to one container and says what became of it. It knows nothing of tasks, of what is
// desired or of the managers, and it never acts by itself.
package engine

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
)

// Errors that a caller branches on. They are wrapped; the text is the engine's own.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict")
	// ErrUnavailable says that the engine did not answer: whether it did what it was told is not known.
	ErrUnavailable = errors.New("the engine does not answer")
)

// Engine is what a task runs on. Every method is safe for concurrent use and ends with its context.
type Engine interface {
	// Info describes the engine and its machine.
	Info(ctx context.Context) (system.Info, error)
	// Alive says whether the engine still takes requests. One that is shutting down does not, while it stops its
	// containers and tells of their end.
	Alive(ctx context.Context) error

	// Image is a local image; ErrNotFound says that there is none of that name.
	Image(ctx context.Context, ref string) (Image, error)
	// Pull brings an image here; auth is an X-Registry-Auth value.
	Pull(ctx context.Context, ref, auth string) error

	// Create makes a container and returns its ID; ErrConflict says that the name is taken.
	Create(ctx context.Context, c Container) (string, error)
	// Start starts a container that does not run; starting one that runs is no error.
	Start(ctx context.Context, id string) error
	// Stop sends the container's stop signal, and SIGKILL after the grace period; nil is the engine's own default.
	// It returns once the container has stopped; stopping one that does not run is no error.
	Stop(ctx context.Context, id string, grace *time.Duration) error
	// Remove takes a container and its anonymous volumes away, killing it if it runs. ErrNotFound is not returned:
	// what is gone is gone.
	Remove(ctx context.Context, id string) error
	// Inspect is a container's state now, by ID or name.
	Inspect(ctx context.Context, id string) (State, error)
	// List is every container, running or not, that carries a label with the value. Ports, PID, exit code and
	// health are not filled in.
	List(ctx context.Context, label, value string) ([]State, error)

	// Events tells what happens to containers that carry the label, from before it returns until the context ends or
	// the engine goes away; then the channel is closed, and what happened since may have been lost.
	Events(ctx context.Context, label string) (<-chan Event, error)
	// Logs is a container's log: frames of Docker's multiplexed stream, or raw bytes of one with a terminal.
	Logs(ctx context.Context, id string, o container.LogsOptions) (io.ReadCloser, error)
	// Exec runs a command in a container to its end.
	Exec(ctx context.Context, id string, o container.ExecOptions) (Exec, error)
}

// Container is a container to create.
type Container struct {
	Name   string
	Config *container.Config
	Host   *container.HostConfig
	// Networks that it is on, besides Host.NetworkMode if that names none of them.
	Networks []Endpoint
}

// Endpoint is a container's place on a network.
type Endpoint struct {
	// Network is the engine's name or ID of it.
	Network  string
	Settings *network.EndpointSettings
}

// Image is what matters of a local image.
type Image struct {
	ID string
	// Pulled says that it came from a registry, and not from a build or an archive.
	Pulled bool
	// Tagged is when the name was last given to it.
	Tagged time.Time
}

// State is what the engine says of a container.
type State struct {
	ID     string
	Name   string
	Labels map[string]string
	// Status is created, running, exited …, as Docker has it.
	Status   container.ContainerState
	PID      int
	ExitCode int
	// Error is why it could not be started.
	Error string
	// Health is empty without a health check.
	Health container.HealthStatus
	TTY    bool
	// Ports that are published on the host.
	Ports []swarm.PortConfig
}

// Running says that the container has a process.
func (s State) Running() bool {
	return s.Status == container.StateRunning || s.Status == container.StatePaused || s.Status == container.StateRestarting
}

// Ended says that the container has run, and does not now.
func (s State) Ended() bool {
	return s.Status == container.StateExited || s.Status == container.StateDead
}

// Event is something that happened to a container.
type Event struct {
	ID     string
	Labels map[string]string
	Kind   EventKind
	// ExitCode is that of a container that died.
	ExitCode int
}

// EventKind is what happened.
type EventKind string

// What can happen to a container.
const (
	Started   EventKind = "start"
	Died      EventKind = "die"
	Healthy   EventKind = "healthy"
	Unhealthy EventKind = "unhealthy"
	Destroyed EventKind = "destroy"
)

// Exec is the end of a command in a container.
type Exec struct {
	ExitCode int
	// Output is the beginning of what it wrote, at most MaxOutput bytes.
	Output string
}

// MaxOutput bounds what is kept of a command's output: it goes into a task's error.
const MaxOutput = 4 << 10
