package manager

import (
	"log/slog"

	"orch/internal/store"
)

// Loop is the leader's loop on its own, as a cluster in simulation runs it.
type Loop = leader

// NewLoop is the loop of a leader with this epoch.
func NewLoop(s *store.Store, epoch uint64, log *slog.Logger) *Loop { return newLeader(s, epoch, log) }
