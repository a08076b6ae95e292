package manager

import (
	"errors"
	"time"

	"orch/internal/snapshot"
	"orch/internal/store"
)

// revive is what a cluster goes on with after a restore: the snapshot, in another life of the
// stream, with one manager. The others of before are workers to it, as their part of the old stream
// is no part of the new one.
func revive(s *snapshot.Snapshot, cfg Config, now time.Time) ([]store.Entry, error) {
	v, err := store.Load(s.Entries)
	if err != nil {
		return nil, err
	}
	tx := v.NewTx(now)
	if tx.Cluster() == nil {
		return nil, errors.New("the snapshot holds no cluster")
	}
	if err := alone(tx, cfg); err != nil {
		return nil, err
	}
	return tx.Entries()
}
