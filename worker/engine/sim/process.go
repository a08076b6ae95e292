package sim

import (
	"context"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"

	"orch/worker/engine"
)

// defaultInterval and defaultGrace are dockerd's.
const (
	defaultInterval = 30 * time.Second
	defaultGrace    = 10 * time.Second
	defaultRetries  = 3
)

// Start starts a container's process.
func (e *Engine) Start(ctx context.Context, id string) error {
	if err := e.begin(ctx, OpStart, e.cfg.StartTime); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.find(id)
	if p == nil {
		return noContainer(id)
	}
	if p.Running() {
		return nil
	}
	p.Status, p.PID, p.ExitCode, p.ended = container.StateRunning, 1000+len(e.containers), 0, make(chan struct{})
	e.emit(p, engine.Started)
	e.run(p)
	return nil
}

// run makes the process do what its command says.
func (e *Engine) run(p *process) {
	switch cmd := p.config.Cmd; {
	case len(cmd) > 1 && cmd[0] == "exit":
		code, _ := strconv.Atoi(cmd[1])
		e.after(p, 0, func() { e.die(p, code) })
	case len(cmd) > 1 && cmd[0] == "print":
		p.output = append(p.output, cmd[1]+"\n"...)
		e.after(p, 0, func() { e.die(p, 0) })
	}
	check := p.config.Healthcheck
	if check == nil || len(check.Test) == 0 || check.Test[0] == "NONE" {
		return
	}
	p.Health = container.Starting
	interval, retries := check.Interval, check.Retries
	if interval == 0 {
		interval = defaultInterval
	}
	if retries == 0 {
		retries = defaultRetries
	}
	if check.Test[len(check.Test)-1] == "ok" {
		e.after(p, interval, func() { e.turn(p, container.Healthy) })
	} else {
		e.after(p, time.Duration(retries)*interval, func() { e.turn(p, container.Unhealthy) })
	}
}

// after acts on a process later, unless it has ended by then. The caller holds mu.
func (e *Engine) after(p *process, d time.Duration, do func()) {
	ended := p.ended
	p.timers = append(p.timers, time.AfterFunc(d, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if p.Running() && p.ended == ended {
			do()
		}
	}))
}

// die ends a process. The caller holds mu.
func (e *Engine) die(p *process, code int) {
	if !p.Running() {
		return
	}
	for _, t := range p.timers {
		t.Stop()
	}
	p.timers = nil
	p.Status, p.PID, p.ExitCode = container.StateExited, 0, code
	e.emit(p, engine.Died)
	close(p.ended)
}

// turn changes a process' health. The caller holds mu.
func (e *Engine) turn(p *process, health container.HealthStatus) {
	p.Health = health
	if health == container.Healthy {
		e.emit(p, engine.Healthy)
	} else {
		e.emit(p, engine.Unhealthy)
	}
}

// Die ends a container's process from outside.
func (e *Engine) Die(name string, code int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.find(name); p != nil {
		e.die(p, code)
	}
}

// Turn changes a container's health from outside.
func (e *Engine) Turn(name string, health container.HealthStatus) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.find(name); p != nil && p.Running() {
		e.turn(p, health)
	}
}

// Stop stops a container.
func (e *Engine) Stop(ctx context.Context, id string, grace *time.Duration) error {
	if err := e.begin(ctx, OpStop, 0); err != nil {
		return err
	}
	e.mu.Lock()
	p := e.find(id)
	if p == nil {
		e.mu.Unlock()
		return noContainer(id)
	}
	if !p.Running() {
		e.mu.Unlock()
		return nil
	}
	ended := p.ended
	if len(p.config.Cmd) > 0 && p.config.Cmd[0] == "ignore" {
		d := defaultGrace
		if grace != nil {
			d = *grace
		}
		e.after(p, d, func() { e.die(p, killedCode) })
	} else {
		e.die(p, 0)
	}
	e.mu.Unlock()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Remove takes a container away.
func (e *Engine) Remove(ctx context.Context, id string) error {
	if err := e.begin(ctx, OpRemove, 0); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.find(id); p != nil {
		e.die(p, killedCode)
		delete(e.containers, p.ID)
		e.emit(p, engine.Destroyed)
	}
	return nil
}

// Down ends the engine and every process on it; nothing answers until Up.
func (e *Engine) Down() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = true
	e.closeStreams()
	for _, p := range e.containers {
		e.die(p, killedCode)
	}
}

// ShutDown is Down as a dockerd does it that is told to end: it refuses requests, tells of each process that it
// stops, and goes.
func (e *Engine) ShutDown() {
	e.mu.Lock()
	e.down = true
	for _, p := range e.containers {
		e.die(p, 0)
	}
	e.mu.Unlock()
	time.AfterFunc(time.Second, e.Down)
}

// Up starts the engine again. Its containers stay ended.
func (e *Engine) Up() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = false
}

// Lose ends every stream of events, and nothing else.
func (e *Engine) Lose() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closeStreams()
}

// run is the end of a command of the test image.
func run(cmd []string) engine.Exec {
	words := cmd
	if len(words) > 0 && words[0] == "/t" { // where the test image has it
		words = words[1:]
	}
	switch {
	case len(words) > 1 && words[0] == "exit":
		code, _ := strconv.Atoi(words[1])
		return engine.Exec{ExitCode: code}
	case len(words) > 1 && words[0] == "print":
		return engine.Exec{Output: words[1] + "\n"}
	}
	return engine.Exec{}
}
