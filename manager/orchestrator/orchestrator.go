package orchestrator

import (
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
	"orch/internal/strategy"
)

// defaultHistory is Swarm's TaskHistoryRetentionLimit.
const defaultHistory = 5

// Reconcile brings the tasks of these services (IDs; also of services that no
// longer exist) to what their specs ask for, and returns when to look at which
// service again if nothing changes before; a service without a time is only to be
// looked at when something changes.
func Reconcile(tx *store.Tx, services []string) map[string]time.Time {
	due := map[string]time.Time{}
	for _, id := range services {
		p := begin(tx, id)
		p.run()
		if !p.due.IsZero() {
			due[id] = p.due
		}
	}
	return due
}

// pass is one reconciliation of one service.
type pass struct {
	tx      *store.Tx
	now     time.Time
	id      string
	service *store.Service // nil: removed
	history int            // tasks kept per slot, the live one included; negative: all
	slots   slots
	byKey   map[key]*slot
	likes   map[uint64]likeness // by spec version of a task
	// strategy is what the service's labels add to its update configuration.
	strategy strategy.Strategy
	due      time.Time
}

func begin(tx *store.Tx, id string) *pass {
	p := &pass{
		tx: tx, now: tx.Now(), id: id, service: tx.Service(id),
		history: defaultHistory, byKey: map[key]*slot{}, likes: map[uint64]likeness{},
	}
	if c := tx.Cluster(); c != nil && c.Spec.Orchestration.TaskHistoryRetentionLimit != nil {
		p.history = int(*c.Spec.Orchestration.TaskHistoryRetentionLimit)
	}
	if p.service != nil {
		// Labels that mean nothing are refused when they are sent.
		p.strategy, _ = strategy.Parse(p.service.Spec.Labels)
	}
	p.group(tx.Tasks(store.OfService(id)))
	return p
}

func (p *pass) run() {
	p.giveUpLost()
	p.sweep()
	if p.service == nil {
		for _, t := range p.slots.tasks() {
			p.remove(t)
		}
		return
	}
	switch mode := p.service.Spec.Mode; {
	case mode.Global != nil:
		p.global()
	case mode.ReplicatedJob != nil:
		p.replicatedJob(mode.ReplicatedJob)
	case mode.GlobalJob != nil:
		p.globalJob()
	default:
		p.replicated(replicas(mode.Replicated))
	}
	p.promote()
	if !p.job() {
		p.prune()
	}
}

// replicas is how many tasks the service is to have: one if it does not say.
func replicas(r *swarm.ReplicatedService) int {
	if r == nil || r.Replicas == nil {
		return 1
	}
	return int(*r.Replicas)
}

// perNode says that a slot of the service is a node.
func (p *pass) perNode() bool {
	return p.service != nil && (p.service.Spec.Mode.Global != nil || p.service.Spec.Mode.GlobalJob != nil)
}

func (p *pass) job() bool {
	return p.service.Spec.Mode.ReplicatedJob != nil || p.service.Spec.Mode.GlobalJob != nil
}

// wake asks for another pass at the latest at a time.
func (p *pass) wake(at time.Time) {
	if p.due.IsZero() || at.Before(p.due) {
		p.due = at
	}
}

// until says whether a time is still to come, and has the service looked at then.
func (p *pass) until(at time.Time) bool {
	if !p.now.Before(at) {
		return false
	}
	p.wake(at)
	return true
}

// lost says that the task's node is not one that runs tasks.
func (p *pass) lost(t *task) bool {
	n := p.tx.Node(t.NodeID)
	return n == nil || n.Status.State == swarm.NodeStateDown || n.Spec.Availability == swarm.NodeAvailabilityDrain
}
