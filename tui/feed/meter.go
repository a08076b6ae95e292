package feed

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"

	"orch/internal/usage"
)

// Usage is a node's and its tasks' at one time.
type Usage struct {
	Node string
	usage.Sample
	Err error // why there is none
}

const (
	// longestSample bounds a line of measurements: a thousand tasks.
	longestSample = 1 << 20
	// measuring is how many containers of a real Swarm's engine are asked for at a time.
	measuring = 8
	// unmeasured is how long a node that cannot be measured is left alone.
	unmeasured = 10 * time.Second
)

// Meter measures the nodes that somebody looks at.
type Meter struct {
	ctx     context.Context
	pool    *Pool
	publish func(Usage)

	// mu guards what follows.
	mu      sync.Mutex
	wanted  Wanted
	streams map[string]context.CancelFunc
	running sync.WaitGroup
}

// Wanted is what to measure.
type Wanted struct {
	Orch  bool
	Self  string            // node whose API this is
	Nodes []string          // IDs
	Tasks bool              // and theirs
	Local map[string]string // containers by task, on a Swarm: those of the engine's own machine
}

// NewMeter measures nothing yet. Wait returns once ctx has ended and nothing runs any more.
func NewMeter(ctx context.Context, p *Pool, publish func(Usage)) *Meter {
	return &Meter{ctx: ctx, pool: p, publish: publish, streams: map[string]context.CancelFunc{}}
}

// Want sets what is measured from now on. It returns at once.
func (m *Meter) Want(w Wanted) {
	m.mu.Lock()
	defer m.mu.Unlock()
	again := m.wanted.Tasks != w.Tasks
	m.wanted = w
	if !w.Orch {
		w.Nodes = slices.DeleteFunc(slices.Clone(w.Nodes), func(id string) bool { return id != w.Self })
	}
	for node, stop := range m.streams {
		if !slices.Contains(w.Nodes, node) || again {
			stop()
			delete(m.streams, node)
		}
	}
	for _, node := range w.Nodes {
		if m.streams[node] != nil || m.ctx.Err() != nil {
			continue
		}
		ctx, stop := context.WithCancel(m.ctx)
		m.streams[node] = stop
		m.running.Go(func() { m.follow(ctx, node) })
	}
}

// Wait returns once every stream has ended, after ctx has.
func (m *Meter) Wait() { m.running.Wait() }

func (m *Meter) follow(ctx context.Context, node string) {
	for ctx.Err() == nil {
		m.mu.Lock()
		w := m.wanted
		m.mu.Unlock()
		var err error
		if w.Orch {
			err = m.stream(ctx, node, w.Tasks)
		} else {
			m.publish(Usage{Node: node, Sample: local(ctx, m.pool.Current().API, w.Local)})
			wait(ctx, usage.Every)
		}
		if err != nil && ctx.Err() == nil {
			m.publish(Usage{Node: node, Err: err})
			wait(ctx, unmeasured)
		}
	}
}

// stream reads a node's measurements over orch's API.
func (m *Meter) stream(ctx context.Context, node string, tasks bool) error {
	c := m.pool.Current().API
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://docker/nodes/%s/usage?tasks=%t", node, tasks), nil)
	if err != nil {
		return err
	}
	conn, err := c.Dialer()(ctx)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	if err := r.Write(conn); err != nil {
		return err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("measure node %s: %s", node, answer.Status)
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, longestSample)
	for lines.Scan() {
		u := Usage{Node: node}
		if err := json.Unmarshal(lines.Bytes(), &u.Sample); err != nil {
			return fmt.Errorf("measure node %s: %w", node, err)
		}
		m.publish(u)
	}
	return errors.Join(lines.Err(), fmt.Errorf("measure node %s: its measurements ended", node))
}

// local asks an engine for its own containers, one by one.
func local(ctx context.Context, c Client, containers map[string]string) usage.Sample {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s := usage.Sample{At: time.Now(), Tasks: map[string]usage.Counters{}}
	var mu sync.Mutex // guards s.Tasks
	var group errgroup.Group
	group.SetLimit(measuring)
	for task, id := range containers {
		group.Go(func() error {
			got, err := c.ContainerStatsOneShot(ctx, id)
			if err != nil {
				return nil // it may be going
			}
			defer got.Body.Close()
			var stats container.StatsResponse
			if json.NewDecoder(got.Body).Decode(&stats) == nil {
				mu.Lock()
				defer mu.Unlock()
				s.Tasks[task] = usage.OfContainer(stats)
			}
			return nil
		})
	}
	_ = group.Wait()
	for _, t := range s.Tasks { // the engine does not measure its machine
		s.Node.CPU += t.CPU
		s.Node.Memory += t.Memory
		s.Node.In += t.In
		s.Node.Out += t.Out
	}
	return s
}
