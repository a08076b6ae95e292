package manager

import (
	"context"
	"fmt"

	"orch/internal/identity"
	"orch/internal/store"
)

// unlockUse binds the sealed unlock key to what it is.
const unlockUse = "unlockkey"

// SealUnlock seals the unlock key for the state: who reads a manager's disk must not find it there.
func (m *Manager) SealUnlock(key string) []byte {
	return identity.Seal(m.cfg.Seal, []byte(key), unlockUse)
}

// OpenUnlock is the unlock key as users keep it.
func (m *Manager) OpenUnlock(sealed []byte) (string, error) {
	key, err := identity.Open(m.cfg.Seal, sealed, unlockUse)
	return string(key), err
}

// keepLocked has this manager's keys on disk locked as the cluster's spec wants it,
// until the context ends. A manager that was away while the key was rotated is
// unlocked with the old one, and gets here to the new one.
func (m *Manager) keepLocked(ctx context.Context) error {
	if m.cfg.SetUnlock == nil {
		return nil
	}
	watch, view := m.store.Watch(store.KindCluster)
	defer watch.Close()
	for {
		if c := view.Cluster(); c != nil {
			if err := m.lock(c); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-watch.C():
			watch.Take()
			view = m.store.View()
		}
	}
}

func (m *Manager) lock(c *store.Cluster) error {
	if len(c.UnlockKey) == 0 {
		return m.cfg.SetUnlock(nil)
	}
	text, err := m.OpenUnlock(c.UnlockKey)
	if err != nil {
		return fmt.Errorf("open the unlock key: %w", err)
	}
	key, err := identity.ParseUnlockKey(text)
	if err != nil {
		return fmt.Errorf("open the unlock key: %w", err)
	}
	return m.cfg.SetUnlock(&key)
}
