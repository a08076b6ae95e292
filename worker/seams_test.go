package worker

import (
	"orch/internal/bus"
	"orch/worker/network"
)

// What production puts behind the agent's seams.
var (
	_ Managers       = (*bus.WorkerConn)(nil)
	_ Network        = (*network.Network)(nil)
	_ bus.LogHandler = (*Agent)(nil).Logs
)
