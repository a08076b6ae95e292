package orchestrator

import (
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

// iteration is the run of the job that counts.
func (p *pass) iteration() uint64 {
	if p.service.JobStatus == nil {
		return 0
	}
	return p.service.JobStatus.JobIteration.Index
}

func sameIteration(a, b *task) bool {
	return iterationOf(a) == iterationOf(b)
}

func iterationOf(t *task) uint64 {
	if t.JobIteration == nil {
		return 0
	}
	return t.JobIteration.Index
}

// replicatedJob runs slots, numbered from 0, to completion: each once, a bounded
// number at a time.
func (p *pass) replicatedJob(spec *swarm.ReplicatedJob) {
	concurrent, total := limits(spec)
	p.dropIterations()
	var running, settled int
	taken := map[int]bool{}
	for _, s := range p.slots {
		p.restart(s)
		switch p.jobState(s) {
		case jobRunning:
			running++
		case jobSettled:
			settled++
		default:
			continue
		}
		taken[s.number] = true
	}
	for number := 0; number < total && running < concurrent && running+settled < total; number++ {
		if !taken[number] {
			p.create(p.slot(key{number: number}))
			running++
		}
	}
}

// limits are how many tasks of the job may run at once and have to complete.
func limits(spec *swarm.ReplicatedJob) (concurrent, total int) {
	concurrent = 1
	if spec.MaxConcurrent != nil {
		concurrent = int(*spec.MaxConcurrent)
	}
	total = concurrent
	if spec.TotalCompletions != nil {
		total = int(*spec.TotalCompletions)
	}
	return concurrent, total
}

// globalJob runs the job to completion once on every node that may run it now.
func (p *pass) globalJob() {
	p.dropIterations()
	for _, n := range p.tx.Nodes(store.All()) {
		s := p.slot(key{node: n.ID})
		if !up(n) {
			p.stopRunning(s)
			continue
		}
		p.restart(s)
		free := n.Spec.Availability == swarm.NodeAvailabilityActive && n.Status.State == swarm.NodeStateReady
		if free && placeable(p.service, n) && p.jobState(s) == jobVacant {
			p.create(s)
		}
	}
	for _, s := range p.slots {
		if p.tx.Node(s.node) == nil {
			p.stopRunning(s)
		}
	}
}

func (p *pass) stopRunning(s *slot) {
	for _, t := range s.live() {
		if !p.finished(t) {
			p.stop(t)
		}
	}
}

type jobState int

const (
	jobVacant  jobState = iota
	jobRunning          // an attempt is under way, or waits for its restart
	jobSettled          // completed, or given up by the restart policy
)

// jobState is how far the current run has come with a slot.
func (p *pass) jobState(s *slot) jobState {
	var last *task
	state := jobVacant
	for _, t := range s.tasks {
		if iterationOf(t) != p.iteration() || t.DesiredState == swarm.TaskStateRemove {
			continue
		}
		last = t
		if p.finished(t) {
			return jobSettled
		}
		if t.Wanted() {
			state = jobRunning
		}
	}
	if state == jobVacant && last != nil && failed(last) && !p.restartable(s, last) {
		return jobSettled
	}
	return state
}

// failed says that the task ended by itself, and badly.
func failed(t *task) bool {
	return t.Status.State == swarm.TaskStateFailed || t.Status.State == swarm.TaskStateRejected
}

// dropIterations stops what is left of earlier runs, and forgets runs that are
// further back than the task history goes.
func (p *pass) dropIterations() {
	for _, t := range p.slots.tasks() {
		of := iterationOf(t)
		if of == p.iteration() {
			continue
		}
		if !t.Ended() || p.history >= 0 && of+uint64(p.history) < p.iteration() {
			p.remove(t)
		}
	}
}
