package worker

import (
	"context"
	"time"

	"orch/worker/network"
)

// applyAgain is the pause before names, VIPs and ports are tried again that could not be put in force.
const applyAgain = 500 * time.Millisecond

// rotation is the state of what the network has in force. One Apply is under way at a
// time; it is of the newest set when it begins.
type rotation struct {
	at    position // what the agent has
	stale bool     // the network does not have it
	busy  bool
}

// rotate notes that the set has moved on, and whether the network has to follow before that is in force.
func (a *Agent) rotate(epoch, seq uint64, changed bool) {
	a.rotation.at = position{epoch, seq}
	a.rotation.stale = a.rotation.stale || changed
	if !a.rotation.stale && !a.rotation.busy {
		a.link.confirm(a.rotation.at)
		return
	}
	a.applyRotation()
}

func (a *Agent) applyRotation() {
	if a.rotation.busy || !a.rotation.stale {
		return
	}
	a.rotation.busy, a.rotation.stale = true, false
	at, state := a.rotation.at, network.State{Networks: sortedValues(a.set.networks), Services: sortedValues(a.set.services)}
	a.steps.Go(func() error {
		ctx, cancel := context.WithTimeout(a.life, callLimit)
		defer cancel()
		err := a.Network.Apply(ctx, state)
		a.post(a.life, func() { a.rotated(at, err) })
		return nil
	})
}

// rotated notes what an Apply has come to.
func (a *Agent) rotated(at position, err error) {
	a.rotation.busy = false
	if err != nil {
		a.Log.Error("names and ports could not be put in force", "err", err)
		a.rotation.stale = true
		a.later(applyAgain, a.applyRotation)
		return
	}
	if !a.rotation.stale {
		at = a.rotation.at // what came meanwhile needed nothing of the network
	}
	a.link.confirm(at)
	a.applyRotation()
}
