package manager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"orch/internal/bus"
	"orch/internal/snapshot"
	"orch/internal/store"
	"orch/internal/store/jslog"
)

const (
	// copyEvery is how long a manager waits, while the state changes, between two copies of it.
	copyEvery = 10 * time.Second
	// noteEvery is the same for the note of how far the stream has been seen.
	noteEvery = time.Second
	// catchUp is how long a manager that starts may be behind what it has seen itself.
	catchUp = 5 * time.Second
	// patience is how many more times that long a stream that can be read may deliver nothing.
	patience = 1
	// named is how many lost objects an error names.
	named = 5
)

func (m *Manager) shelf() snapshot.Shelf {
	return snapshot.Shelf{Dir: m.cfg.SnapshotDir, Key: m.cfg.Seal}
}

// keepCopies copies the state off the stream while it changes, until the context ends, and then once
// more. A copy that cannot be written is no reason to stop: it is said once.
func (m *Manager) keepCopies(ctx context.Context) error {
	if m.cfg.SnapshotDir == "" {
		return nil
	}
	shelf := m.shelf()
	note := time.NewTicker(noteEvery)
	defer note.Stop()
	var copied, noted uint64
	var lastCopy time.Time
	said := false
	keep := func(final bool) {
		v := m.store.View()
		var errs error
		if v.Seq() > noted && v.Cluster() != nil {
			noted = v.Seq()
			errs = shelf.Saw(v.Cluster().Present(), noted)
		}
		if v.Seq() > copied && (final || time.Since(lastCopy) >= copyEvery) {
			snap, err := snapshot.Take(v, time.Now())
			if err == nil && snap != nil {
				if err = shelf.Put(snap); err == nil {
					copied = snap.Seq
				}
			}
			lastCopy, errs = time.Now(), errors.Join(errs, err)
		}
		if errs != nil && !said {
			m.log.Error("the state cannot be copied off the stream: a stream that is lost could not be told from a good one", "error", errs)
		}
		said = errs != nil
	}
	for {
		select {
		case <-note.C:
			keep(false)
		case <-ctx.Done():
			keep(true)
			return nil
		}
	}
}

// load waits until the view holds all of the stream. When that takes long, it looks whether it ever can.
func (m *Manager) load(ctx context.Context) error {
	reached, still := uint64(0), 0
	for {
		select {
		case <-m.store.Ready():
			return nil
		case err := <-m.following:
			return err
		case <-time.After(catchUp):
		case <-ctx.Done():
			return fmt.Errorf("load the cluster state: %w", ctx.Err())
		}
		err := m.state.Readable(ctx)
		switch seq := m.store.View().Seq(); {
		case errors.Is(err, bus.ErrDamaged):
		case err != nil, seq != reached:
			reached, still = seq, 0
			continue
		case still < patience:
			still++
			continue
		default: // it can be read piece by piece, and is not handed on: its index is not of its content
			err = fmt.Errorf("%w: it is not delivered beyond write %d", bus.ErrDamaged, seq)
		}
		snap, _, _ := m.shelf().Newest() // what there is to go back to
		return fmt.Errorf("%w; %s", err, m.wayBack(snap))
	}
}

// compare holds the stream against what this manager has seen of it before. A stream that
// has lost something must not be led: its leader would stop what the stream has forgotten.
func (m *Manager) compare(ctx context.Context) error {
	if m.cfg.SnapshotDir == "" {
		return nil
	}
	shelf := m.shelf()
	snap, unreadable, err := shelf.Newest()
	if err != nil {
		return err
	}
	for _, name := range unreadable {
		m.log.Warn("a snapshot of the state cannot be read", "file", name)
	}
	c := m.store.View().Cluster()
	switch {
	case c == nil && snap == nil:
		return nil // it was never more than founded
	case c == nil:
		return m.lost(snap, "it holds no cluster")
	}
	if snap != nil && !slices.Contains(append(c.Histories, ""), snap.History) {
		return m.lost(snap, "it is older than a restore that this manager has taken part in")
	}
	if err := m.atLeast(ctx, snap, shelf.Seen(c.Present())); err != nil {
		return err
	}
	if snap == nil || snap.Cluster != c.ID || snap.History != c.Present() {
		return nil
	}
	return m.complete(ctx, snap)
}

// atLeast waits until the stream is as far as it has been seen.
func (m *Manager) atLeast(ctx context.Context, snap *snapshot.Snapshot, seen uint64) error {
	if snap != nil && snap.History == m.store.View().Cluster().Present() {
		seen = max(seen, snap.Seq)
	}
	for deadline := time.Now().Add(catchUp); ; {
		last, err := m.state.LastSeq(ctx)
		switch {
		case err != nil:
			return err
		case last >= seen:
			return nil
		case time.Now().After(deadline):
			return m.lost(snap, fmt.Sprintf("it has gone back from write %d to %d", seen, last))
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// complete looks for each object of the snapshot. One that is gone must have been deleted; the stream
// remembers for a day that it was.
func (m *Manager) complete(ctx context.Context, snap *snapshot.Snapshot) error {
	gone, bad := snap.Missing(m.store.View())
	for _, key := range gone {
		if time.Since(snap.Taken) > jslog.Remembered {
			break
		}
		deleted, err := m.state.Deleted(ctx, key)
		if err != nil {
			return err
		}
		if !deleted {
			bad = append(bad, key)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	more := ""
	if len(bad) > named {
		more = fmt.Sprintf(" and %d more", len(bad)-named)
		bad = bad[:named]
	}
	return m.lost(snap, fmt.Sprintf("it has lost what it held: %v%s", bad, more))
}

// lost is the alarm: what is wrong, and what there is to go back to.
func (m *Manager) lost(snap *snapshot.Snapshot, what string) error {
	return fmt.Errorf("%w: %s; nothing was stopped, and this manager does not lead. %s", bus.ErrDamaged, what, m.wayBack(snap))
}

func (m *Manager) wayBack(snap *snapshot.Snapshot) string {
	if snap == nil {
		return "`orch restore FILE` goes back to a backup"
	}
	return fmt.Sprintf("`orch restore --snapshot` goes back to this manager's copy of %s, `orch restore FILE` to a backup; "+
		"where other managers run, `orch leave --force` here and join again", snap.Taken.Format(time.RFC3339))
}

// Backup is the state as it is now.
func (m *Manager) Backup() (*snapshot.Snapshot, error) {
	snap, err := snapshot.Take(m.store.View(), time.Now())
	if err == nil && snap == nil {
		err = errors.New("there is no cluster yet")
	}
	return snap, err
}

// seqGap is by how far a restored stream begins above the one before: what that had written after the
// snapshot was below it, so that no sequence means two things.
const seqGap = 1 << 32

// restoreBatch bounds one write of a restore, in objects and bytes.
const (
	restoreBatch = 200
	restoreBytes = 4 << 20
)

// restore writes a snapshot into the stream that was just founded for it.
func (m *Manager) restore(ctx context.Context, f *Founding) error {
	entries, err := revive(f.Restore, m.cfg, time.Now())
	if err != nil {
		return err
	}
	var ops []store.Op
	size := 0
	write := func() error {
		if len(ops) == 0 {
			return nil
		}
		_, err := m.state.Commit(ctx, store.Batch{Ops: ops})
		ops, size = nil, 0
		return err
	}
	for _, e := range entries {
		if len(ops) == restoreBatch || size+len(e.Value) > restoreBytes {
			if err := write(); err != nil {
				return fmt.Errorf("restore the cluster state: %w", err)
			}
		}
		ops, size = append(ops, store.Op{Key: e.Key, Value: e.Value}), size+len(e.Value)
	}
	if err := write(); err != nil {
		return fmt.Errorf("restore the cluster state: %w", err)
	}
	last, err := m.state.LastSeq(ctx)
	if err != nil {
		return err
	}
	return m.store.Reach(ctx, last)
}
