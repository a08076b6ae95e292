package api

import (
	"bytes"
	"encoding/json"
	"maps"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
	"orch/internal/strategy"
)

// An update under way is steered with the label strategy.LabelDo: any Swarm client can set it, and a write that sets it does
// what it says and nothing else. The label itself is not kept, and neither the spec, the previous spec nor the
// update's progress move, as they do with Swarm's own way to resume, which is any change of the service.

// request takes what a spec asks of the update out of its labels.
func request(spec *swarm.ServiceSpec) string {
	do, ok := spec.Labels[strategy.LabelDo]
	if !ok {
		return ""
	}
	spec.Labels = maps.Clone(spec.Labels)
	delete(spec.Labels, strategy.LabelDo)
	return do
}

// steer does what was asked of a service's update.
func steer(tx *store.Tx, s *store.Service, wanted swarm.ServiceSpec, do string) error {
	if !equalSpecs(wanted, s.Spec) {
		return badSpec("%s=%s goes with no other change of the service", strategy.LabelDo, do)
	}
	var state swarm.UpdateState
	if s.UpdateStatus != nil {
		state = s.UpdateStatus.State
	}
	next := *s
	switch do {
	case strategy.Promote:
		how, _ := strategy.Parse(s.Spec.Labels) // checked when it was written
		r := s.Rollout
		if how.Canary == 0 || state != swarm.UpdateStateUpdating || r == nil || r.Over || r.Promoted {
			return remote(errdefs.ErrFailedPrecondition, "service %s has no update that waits to be promoted", s.Spec.Name)
		}
		promoted := *r
		promoted.Promoted = true
		next.Rollout = &promoted
		next.UpdateStatus = status(s, state, "update promoted")
	case strategy.Pause:
		to, ok := map[swarm.UpdateState]swarm.UpdateState{
			swarm.UpdateStateUpdating: swarm.UpdateStatePaused, swarm.UpdateStateRollbackStarted: swarm.UpdateStateRollbackPaused,
		}[state]
		if !ok {
			return remote(errdefs.ErrFailedPrecondition, "service %s has no update under way", s.Spec.Name)
		}
		next.UpdateStatus = status(s, to, "update paused on request")
	case strategy.Resume:
		to, ok := map[swarm.UpdateState]swarm.UpdateState{
			swarm.UpdateStatePaused: swarm.UpdateStateUpdating, swarm.UpdateStateRollbackPaused: swarm.UpdateStateRollbackStarted,
		}[state]
		if !ok {
			return remote(errdefs.ErrFailedPrecondition, "service %s has no update that is paused", s.Spec.Name)
		}
		next.UpdateStatus = status(s, to, "update resumed")
		if r := s.Rollout; r != nil {
			again := *r
			again.Failed = nil // what failed before has been seen
			next.Rollout = &again
		}
	default:
		return badSpec("%s: %q is not one of %s, %s, %s", strategy.LabelDo, do, strategy.Promote, strategy.Pause, strategy.Resume)
	}
	tx.Put(&next)
	return nil
}

func status(s *store.Service, state swarm.UpdateState, message string) *swarm.UpdateStatus {
	u := *s.UpdateStatus
	u.State, u.Message = state, message
	return &u
}

// equalSpecs compares as the store would keep them: in JSON an empty map and none at all are the same.
func equalSpecs(a, b swarm.ServiceSpec) bool {
	if len(a.Labels)+len(b.Labels) == 0 {
		a.Labels, b.Labels = nil, nil
	}
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}
