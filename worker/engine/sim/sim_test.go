package sim_test

import (
	"testing"

	"orch/worker/engine/enginetest"
	"orch/worker/engine/sim"
)

func TestEngine(t *testing.T) {
	e := sim.New(sim.Config{Images: []string{"t:latest"}})
	enginetest.Run(t, enginetest.Subject{Engine: e, Image: "t:latest", Prefix: "sim-"})
}
