package manager

import (
	"context"
	"crypto/rand"
	"strconv"
	"time"

	"orch/internal/identity"
	"orch/internal/store"
)

const (
	// rotateEvery is how long a key of the encrypted networks is the newest, as in Swarm.
	rotateEvery = 12 * time.Hour
	// keptKeys are one that some may still send with, one that is sent with, and the next.
	keptKeys = 3
	keySize  = 32
)

// rotateKeys sees to it that there are keys while there are encrypted networks, and that they are changed.
func (m *Manager) rotateKeys(ctx context.Context, loop *leader) error {
	watch, view := m.store.Watch(store.KindNetwork)
	defer watch.Close()
	for {
		wait := rotateEvery
		if encrypted(view) {
			due := keysDue(view.Cluster(), time.Now())
			if due <= 0 {
				if err := loop.Do(ctx, m.rotate); err != nil && ctx.Err() == nil {
					m.log.Warn("the keys of encrypted networks were not changed; trying again", "error", err)
				}
				due = retryAfter
			}
			wait = due
		}
		select {
		case <-ctx.Done():
			return nil
		case <-watch.C():
			watch.Take()
		case <-time.After(wait):
		}
		view = m.store.View()
	}
}

func encrypted(v *store.View) bool {
	for _, n := range v.Networks(store.All()) {
		if store.Encrypted(n.Spec) {
			return true
		}
	}
	return false
}

// keysDue is how long the newest key is still good for.
func keysDue(c *store.Cluster, now time.Time) time.Duration {
	if c == nil || len(c.NetworkKeys) == 0 {
		return 0
	}
	return c.NetworkKeys[len(c.NetworkKeys)-1].Made.Add(rotateEvery).Sub(now)
}

// rotate adds a key, at first two, for the one to send with is never the newest: every node has it before anybody uses it.
func (m *Manager) rotate(tx *store.Tx) {
	old := tx.Cluster()
	if old == nil || keysDue(old, tx.Now()) > 0 {
		return
	}
	c := *old
	c.NetworkKeys = append([]store.NetworkKey(nil), old.NetworkKeys...)
	for add := true; add; add = len(c.NetworkKeys) < 2 {
		k := store.NetworkKey{ID: 1, Made: tx.Now()}
		if n := len(c.NetworkKeys); n > 0 {
			k.ID = c.NetworkKeys[n-1].ID + 1
		}
		data := make([]byte, keySize)
		_, _ = rand.Read(data) // it does not fail (crypto/rand)
		k.Sealed = identity.Seal(m.cfg.Seal, data, keyUse(k.ID))
		c.NetworkKeys = append(c.NetworkKeys, k)
	}
	c.NetworkKeys = c.NetworkKeys[max(0, len(c.NetworkKeys)-keptKeys):]
	tx.Put(&c)
}

func keyUse(id uint64) string { return "networkkey." + strconv.FormatUint(id, 10) }

// openKey unseals a key for the nodes that need it.
func (m *Manager) openKey(k store.NetworkKey) ([]byte, error) {
	return identity.Open(m.cfg.Seal, k.Sealed, keyUse(k.ID))
}
