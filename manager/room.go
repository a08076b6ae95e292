package manager

import (
	"fmt"

	"golang.org/x/sys/unix"

	"orch/internal/store"
)

// leastRoom is what the state's disk must have left for a write to be possible: a transaction, and what JetStream writes with it.
const leastRoom = 2 << 20

// room says that the disk of the state is full, if it is: JetStream then does not answer, which looks like managers that are gone.
func (m *Manager) room() error {
	var s unix.Statfs_t
	if err := unix.Statfs(m.cfg.Dir, &s); err != nil || uint64(s.Bsize)*s.Bavail >= leastRoom {
		return nil
	}
	return fmt.Errorf("%w: nothing can be written to %s; make room, and go on", store.ErrDiskFull, m.cfg.Dir)
}
