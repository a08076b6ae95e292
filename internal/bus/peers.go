package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// presentEvery is how often a manager tells the others that it is there, and unreachableAfter how
	// long one may be silent. An election takes as long, so neither is known much sooner than the other.
	presentEvery     = 500 * time.Millisecond
	unreachableAfter = 2 * time.Second
)

// Standing is what a manager knows of another, or of itself.
type Standing struct {
	Reachable bool
	Leader    bool
}

// presence is what a manager tells the others.
type presence struct {
	// Epoch is that of its leadership, 0 while it does not lead.
	Epoch   uint64 `json:",omitempty"`
	Leaving bool   `json:",omitempty"`
}

// Peers knows which managers can be reached, and which of them leads: as seen from this one, and of use
// just when the state has no majority to write it to.
type Peers struct {
	conn *nats.Conn
	self string
	log  *slog.Logger
	tell chan struct{}
	away map[string]bool // those that were said to be; Run's

	// mu guards what follows.
	mu    sync.Mutex
	epoch uint64
	heard map[string]heard
}

type heard struct {
	at    time.Time
	epoch uint64
}

// Peers is the managers as this one hears them; Run must run.
func (s *Server) Peers() *Peers {
	return &Peers{conn: s.state, self: s.cfg.NodeID, log: s.log, away: map[string]bool{}, tell: make(chan struct{}, 1), heard: map[string]heard{}}
}

// Run tells and listens until the context ends.
func (p *Peers) Run(ctx context.Context) error {
	sub, err := p.conn.Subscribe(managerPrefix+anyNode, p.hear)
	if err != nil {
		return fmt.Errorf("listen to the other managers: %w", err)
	}
	defer sub.Unsubscribe()
	tick := time.NewTicker(presentEvery)
	defer tick.Stop()
	for {
		p.publish(false)
		p.say()
		select {
		case <-tick.C:
		case <-p.tell:
		case <-ctx.Done():
			p.publish(true)
			return nil
		}
	}
}

// say tells the operator of managers that are missed, and of those that are back.
func (p *Peers) say() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for node, h := range p.heard {
		switch here := time.Since(h.at) < unreachableAfter; {
		case !here && !p.away[node]:
			p.log.Warn("a manager cannot be reached", "node", node, "silent", time.Since(h.at).Round(time.Millisecond))
			p.away[node] = true
		case here && p.away[node]:
			p.log.Info("a manager can be reached again", "node", node)
			delete(p.away, node)
		}
	}
}

func (p *Peers) publish(leaving bool) {
	p.mu.Lock()
	body, _ := json.Marshal(presence{Epoch: p.epoch, Leaving: leaving}) // two plain fields always encode
	p.mu.Unlock()
	// Nobody hears what is said without a connection; the next will do.
	_ = p.conn.Publish(managerPrefix+p.self, body)
}

func (p *Peers) hear(m *nats.Msg) {
	var said presence
	if json.Unmarshal(m.Data, &said) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	node := strings.TrimPrefix(m.Subject, managerPrefix)
	if said.Leaving {
		delete(p.heard, node)
		return
	}
	p.heard[node] = heard{at: time.Now(), epoch: said.Epoch}
}

// Leads says that this manager leads, or with 0 that it does no more.
func (p *Peers) Leads(epoch uint64) {
	p.mu.Lock()
	p.epoch = epoch
	p.mu.Unlock()
	select {
	case p.tell <- struct{}{}:
	default:
	}
}

// Of is what is known of a manager.
func (p *Peers) Of(node string) Standing {
	p.mu.Lock()
	defer p.mu.Unlock()
	if node == p.self {
		return Standing{Reachable: true, Leader: p.epoch != 0 && p.epoch == p.latest()}
	}
	h, ok := p.heard[node]
	here := ok && time.Since(h.at) < unreachableAfter
	return Standing{Reachable: here, Leader: here && h.epoch != 0 && h.epoch == p.latest()}
}

// latest is the last leadership that is heard of: one that was paused may still claim an earlier.
func (p *Peers) latest() uint64 {
	last := p.epoch
	for _, h := range p.heard {
		if time.Since(h.at) < unreachableAfter {
			last = max(last, h.epoch)
		}
	}
	return last
}
