// Package strategy says how a service is updated where that goes beyond Swarm's update configuration: a canary that is held, a switch
// from one set of tasks to another, and what people ask of an update that is under way.
//
// It travels as labels of the service, which every Swarm client hands on and which restart nothing. The composer writes
// them, the API checks them, the orchestrator acts on them; the package itself decides nothing.
package strategy

import (
	"fmt"
	"strconv"
	"time"
)

// Labels of a service.
const (
	// LabelCanary is how many tasks are updated first and then held.
	LabelCanary = "orch.update.canary"
	// LabelHold is for how long; without it they are held until the update is promoted.
	LabelHold = "orch.update.canary.hold"
	// LabelBlueGreen is "true" where all tasks are started anew, out of rotation, and take over together.
	LabelBlueGreen = "orch.update.blue-green"
	// LabelDo is what a client asks of the update under way. It is a request, and never kept.
	LabelDo = "orch.update.do"
)

// Requests: the values of LabelDo.
const (
	Promote = "promote" // go on after the canary
	Pause   = "pause"
	Resume  = "resume"
)

// Held begins the message of an update whose canary waits to be promoted.
const Held = "held: "

// Strategy is how a service is updated; the zero value is as its update configuration says.
type Strategy struct {
	Canary    int
	Hold      time.Duration // 0: until promoted
	BlueGreen bool
}

// Parse reads a service's labels.
func Parse(labels map[string]string) (s Strategy, err error) {
	if v, ok := labels[LabelCanary]; ok {
		if s.Canary, err = strconv.Atoi(v); err != nil || s.Canary < 1 {
			return Strategy{}, fmt.Errorf("label %s: %q is not a number of tasks, 1 or more", LabelCanary, v)
		}
	}
	if v, ok := labels[LabelHold]; ok {
		if s.Hold, err = time.ParseDuration(v); err != nil || s.Hold <= 0 {
			return Strategy{}, fmt.Errorf("label %s: %q is not a time above zero, such as 10m", LabelHold, v)
		}
		if s.Canary == 0 {
			return Strategy{}, fmt.Errorf("label %s needs %s", LabelHold, LabelCanary)
		}
	}
	if v, ok := labels[LabelBlueGreen]; ok {
		if s.BlueGreen, err = strconv.ParseBool(v); err != nil {
			return Strategy{}, fmt.Errorf("label %s: %q is neither true nor false", LabelBlueGreen, v)
		}
	}
	if s.BlueGreen && s.Canary > 0 {
		return Strategy{}, fmt.Errorf("labels %s and %s exclude each other: a blue-green update switches all tasks at once", LabelCanary, LabelBlueGreen)
	}
	return s, nil
}
