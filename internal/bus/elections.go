package bus

import (
	"log/slog"
	"os"
	"sync"
	"time"
	_ "unsafe" // for go:linkname
)

// JetStream elects a new leader 4 to 9 seconds after the last was heard, by
// variables that the server does not export and has no option for. A cluster
// that cannot be changed for that long after losing one machine is not what
// users of Swarm (1 s heartbeat, 3 s election) are used to. With the values below a kill -9 of the
// leader costs 1.3 s, and 20 s with both cores overloaded led to no false
// election. They must be the same on every manager.
//
// If a release of the server renames the variables, the names below become variables of our own and
// stock is zero: then nothing is set, the test fails, and the server is merely
// slower to recover.

//go:linkname minElectionTimeout github.com/nats-io/nats-server/v2/server.minElectionTimeout
var minElectionTimeout time.Duration

//go:linkname maxElectionTimeout github.com/nats-io/nats-server/v2/server.maxElectionTimeout
var maxElectionTimeout time.Duration

//go:linkname hbInterval github.com/nats-io/nats-server/v2/server.hbInterval
var hbInterval time.Duration

//go:linkname lostQuorumInterval github.com/nats-io/nats-server/v2/server.lostQuorumInterval
var lostQuorumInterval time.Duration

//go:linkname lostQuorumCheck github.com/nats-io/nats-server/v2/server.lostQuorumCheck
var lostQuorumCheck time.Duration

// timing is one set of the variables above.
type timing struct {
	minElection, maxElection, heartbeat, lostQuorum, lostQuorumCheck time.Duration
}

var (
	stockTiming = timing{4 * time.Second, 9 * time.Second, time.Second, 10 * time.Second, 10 * time.Second}
	fastTiming  = timing{time.Second, 2 * time.Second, 250 * time.Millisecond, 2500 * time.Millisecond, 2500 * time.Millisecond}
)

// StockElectionsEnv, when set to 1, leaves the server's own timing alone.
const StockElectionsEnv = "ORCH_STOCK_ELECTIONS"

func currentTiming() timing {
	return timing{minElectionTimeout, maxElectionTimeout, hbInterval, lostQuorumInterval, lostQuorumCheck}
}

// quickenElections must run before the first server of the process: the server
// reads the variables without a lock.
var quickenElections = sync.OnceFunc(func() {
	if os.Getenv(StockElectionsEnv) == "1" {
		return
	}
	if got := currentTiming(); got != stockTiming {
		slog.Warn("the NATS server's election timing is not what this release knows; leaving it alone", "component", "bus", "timing", got)
		return
	}
	minElectionTimeout, maxElectionTimeout = fastTiming.minElection, fastTiming.maxElection
	hbInterval = fastTiming.heartbeat
	lostQuorumInterval, lostQuorumCheck = fastTiming.lostQuorum, fastTiming.lostQuorumCheck
})
