// Package dispatcher tells workers what to run and hears how it goes. It runs
// on the leader only and keeps nothing of its own: sessions are made again from
// the state when a worker asks a new leader.
//
// One goroutine, Run, owns the sessions. On every change of the state it works
// out what each node should have (world, assign), sends the difference, and
// lets a task stop only once every node has taken it out of names, VIPs and ports (hold).
package dispatcher

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
	"orch/internal/store"
)

// MissedBeats is how many heartbeats a node may miss before it is down.
const MissedBeats = 3

// FirstBeats is how many more a node may miss of a leader that has just begun: it may first have to find out that the manager
// that it was connected to is gone. To take a node for lost that is not costs more than to wait for one that is.
const FirstBeats = 2

// Config is what a dispatcher needs.
type Config struct {
	Cluster string
	Epoch   uint64
	Store   *store.Store
	// Push sends an increment to a node; it does not wait for the node.
	Push func(node string, a bus.Assignments) error
	// Do runs fn in the leader's next transaction and returns once that is committed.
	Do func(ctx context.Context, fn func(*store.Tx)) error
	// Observe brings a worker's report into a transaction.
	Observe func(tx *store.Tx, node string, s bus.TaskStatus)
	// OpenSecret and OpenAuth unseal what only managers can read.
	OpenSecret func(*store.Secret) ([]byte, error)
	OpenAuth   func(*store.Task) (string, error)
	OpenKey    func(store.NetworkKey) ([]byte, error)
	// Heartbeat is the time between two heartbeats of a worker.
	Heartbeat time.Duration
	// Standing is what every node's certificate is to be, "" if that cannot be said.
	Standing func(*store.View) string
	Log      *slog.Logger
}

// Dispatcher serves the workers' sessions.
type Dispatcher struct {
	Config
	calls chan func()

	// What follows belongs to Run's goroutine.
	world    *world
	sessions map[string]*session
	seen     map[string]time.Time // last sign of life, by node
	downing  map[string]bool      // nodes being declared down
	holds    map[string]*hold     // tasks that may not stop yet
	standing string               // what every node's certificate is to be
}

type session struct {
	seq     uint64
	applied uint64
	sent    set
}

// New is a dispatcher; Run starts it.
func New(c Config) *Dispatcher {
	return &Dispatcher{
		Config: c, calls: make(chan func()), sessions: map[string]*session{},
		seen: map[string]time.Time{}, downing: map[string]bool{}, holds: map[string]*hold{},
	}
}

// errNoSession tells a worker to ask for its full set.
var errNoSession = errors.New("no session: ask for the full set")

// Run serves until the context ends.
func (d *Dispatcher) Run(ctx context.Context) error {
	watch, view := d.Store.Watch(store.KindTask, store.KindService, store.KindNetwork, store.KindNode, store.KindCluster)
	defer watch.Close()
	d.world = newWorld(view)
	d.standing = d.stand(view)
	for _, n := range view.Nodes(store.All()) {
		d.seen[n.ID] = time.Now().Add(FirstBeats * d.Heartbeat) // the last leader heard them, perhaps
	}
	d.inherit(view)
	d.greet(view)
	tick := time.NewTicker(d.Heartbeat / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case call := <-d.calls:
			call()
		case <-watch.C():
			changes, lost := watch.Take()
			d.changed(changes, lost)
		case <-tick.C:
			d.releaseOverdue()
			d.findDown(ctx)
		}
	}
}

// greet tells every node that this manager leads now, by a message without number or content: what a node has asked of a leader that is
// gone it would wait for in vain, for longer than the change of leaders takes.
func (d *Dispatcher) greet(v *store.View) {
	for _, n := range v.Nodes(store.All()) {
		if err := d.Push(n.ID, bus.Assignments{Cluster: d.Cluster, Epoch: d.Epoch, Heartbeat: d.Heartbeat}); err != nil {
			d.Log.Warn("a node was not told of the new leader", "node", n.ID, "error", err)
		}
	}
}

// call runs fn on Run's goroutine.
func (d *Dispatcher) call(ctx context.Context, fn func()) error {
	done := make(chan struct{})
	select {
	case d.calls <- func() { fn(); close(done) }:
		<-done
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Session registers what a worker says of its node and answers with its full set.
func (d *Dispatcher) Session(ctx context.Context, s bus.Session) (bus.Assignments, error) {
	known := false
	// A node that asks is alive, however long the answer takes.
	if err := d.call(ctx, func() { d.seen[s.Node] = time.Now() }); err != nil {
		return bus.Assignments{}, err
	}
	if err := d.Do(ctx, func(tx *store.Tx) { known = register(tx, s) }); err != nil {
		return bus.Assignments{}, err
	}
	if !known {
		return bus.Assignments{}, errors.New("node " + s.Node + " is not part of the cluster")
	}
	var full bus.Assignments
	err := d.call(ctx, func() { full = d.open(s.Node) })
	return full, err
}

// register brings a node's description into the state and makes it ready.
func register(tx *store.Tx, s bus.Session) (known bool) {
	old := tx.Node(s.Node)
	if old == nil {
		return false
	}
	n := *old
	n.Description.Hostname = s.Description.Hostname
	n.Description.Platform = s.Description.Platform
	n.Description.Resources = s.Description.Resources
	n.Description.Engine = s.Description.Engine
	n.Description.CSIInfo = s.Description.CSIInfo
	if s.Description.TLSInfo.TrustRoot != "" {
		n.Description.TLSInfo = s.Description.TLSInfo
	}
	n.Status = swarm.NodeStatus{State: swarm.NodeStateReady, Addr: s.Address}
	n.Status.Message = strings.Join(s.Conditions, "; ")
	n.DownAt = time.Time{}
	n.UsedSubnets, n.Conditions = s.UsedSubnets, s.Conditions
	n.Encryption, n.WireGuard = s.Encryption, s.WireGuard
	tx.Put(&n)
	return true
}

func (d *Dispatcher) open(node string) bus.Assignments {
	now := d.world.assigned(node, d.held)
	all := make([]bus.Resource, 0, len(now))
	for r := range maps.Keys(now) {
		all = append(all, r)
	}
	full := d.message(now, all)
	// Numbers go on from the session before: its late increments must not pass for
	// this one's.
	s := &session{seq: 1, sent: now}
	if old := d.sessions[node]; old != nil {
		s.seq = old.seq + 1
	}
	full.Cluster, full.Epoch, full.Seq, full.Full, full.Heartbeat = d.Cluster, d.Epoch, s.seq, true, d.Heartbeat
	d.sessions[node] = s
	if c := d.world.view.Cluster(); c != nil {
		full.Histories, full.Accepted = c.Histories, accepted(d.world.view, node)
	}
	d.arrived(node, s.seq)
	d.seen[node] = time.Now()
	delete(d.downing, node)
	return full
}

// accepted says that the node is to take the word of the present state.
func accepted(v *store.View, node string) bool {
	c, n := v.Cluster(), v.Node(node)
	return c != nil && n != nil && c.Present() != "" && n.Spec.Labels[store.AcceptLabel] == c.Present()
}

// Beat notes that a node is alive.
func (d *Dispatcher) Beat(ctx context.Context, b bus.Beat) (bus.Reply, error) {
	return d.heard(ctx, b.Node, b.Epoch, b.Applied)
}

// Report brings a worker's task states into the state.
func (d *Dispatcher) Report(ctx context.Context, r bus.Report) (bus.Reply, error) {
	reply, err := d.heard(ctx, r.Node, r.Epoch, r.Applied)
	if err != nil || len(r.Statuses) == 0 {
		return reply, err
	}
	return reply, d.Do(ctx, func(tx *store.Tx) {
		for _, s := range r.Statuses {
			d.Observe(tx, r.Node, s)
		}
	})
}

func (d *Dispatcher) heard(ctx context.Context, node string, epoch, applied uint64) (bus.Reply, error) {
	reply, refused := bus.Reply{Epoch: d.Epoch}, error(nil)
	err := d.call(ctx, func() {
		s := d.sessions[node]
		d.seen[node] = time.Now()
		if s == nil || epoch != d.Epoch {
			refused = errNoSession
			return
		}
		reply.Seq = s.seq
		reply.Standing = d.standing
		if applied > s.applied {
			s.applied = applied
			d.release()
		}
	})
	return reply, errors.Join(err, refused)
}

// changed sends every node what a change of the state means to it.
func (d *Dispatcher) changed(changes []store.Change, lost bool) {
	var t touched
	view := d.Store.View()
	if lost {
		d.world = newWorld(view)
		t.all = true
	} else {
		t = d.world.update(view, changes)
	}
	if lost || slices.ContainsFunc(changes, func(c store.Change) bool { return c.Kind == store.KindCluster }) {
		d.standing = d.stand(view)
	}
	for _, c := range changes {
		if n, ok := c.New.(*store.Node); ok && c.Old != nil && n.Spec.Labels[store.AcceptLabel] != c.Old.(*store.Node).Spec.Labels[store.AcceptLabel] {
			delete(d.sessions, n.ID) // it asks for its set again, which then says so
		}
	}
	d.hold(changes)
	for node, s := range d.sessions {
		if view.Node(node) == nil {
			delete(d.sessions, node)
			continue
		}
		if t.all || t.nodes[node] || s.on(t.networks) {
			d.send(node, s)
		}
	}
	d.release()
}

func (d *Dispatcher) stand(v *store.View) string {
	if d.Standing == nil {
		return ""
	}
	return d.Standing(v)
}

// on says whether a session has one of the networks.
func (s *session) on(networks map[string]bool) bool {
	for id := range networks {
		if s.sent[bus.Resource{Kind: bus.KindNetwork, ID: id}] != nil {
			return true
		}
	}
	return false
}

func (d *Dispatcher) send(node string, s *session) {
	now := d.world.assigned(node, d.held)
	changed, removed := difference(s.sent, now)
	if len(changed)+len(removed) == 0 {
		return
	}
	a := d.message(now, changed)
	s.seq++
	a.Cluster, a.Epoch, a.Seq, a.Removed, a.Heartbeat = d.Cluster, d.Epoch, s.seq, removed, d.Heartbeat
	s.sent = now
	d.awaitConfirmation(node, s.seq, changed, removed)
	if err := d.Push(node, a); err != nil {
		// The worker notices the gap by the next beat's answer and asks again.
		d.Log.Warn("an assignment was not sent", "node", node, "error", err)
	}
}
