package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"orch/internal/identity"
)

// lockFile holds the key that a manager's other keys are sealed under on its disk.
// While autolock is on it is itself sealed, under the unlock key: one small file to
// replace, so that no crash can leave half the keys under another one.
const (
	lockFile = "lock.key"
	lockUse  = "lock"
)

// errLocked says that the files cannot be read without the unlock key.
var errLocked = errors.New("the manager's keys are locked")

// strongbox is a manager's key to its own files. A nil one, a worker's, leaves
// everything in the clear.
type strongbox struct {
	path string
	key  identity.Key

	// mu guards unlock, nil while autolock is off, and the file.
	mu     sync.Mutex
	unlock *identity.Key
}

func newStrongbox(f files) *strongbox {
	return &strongbox{path: f.path(lockFile), key: identity.NewKey()}
}

// openStrongbox reads a manager's; unlock is nil as long as nobody has given it. A
// manager from before there were any gets one.
func openStrongbox(f files, unlock *identity.Key) (*strongbox, error) {
	content, err := os.ReadFile(f.path(lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		b := newStrongbox(f)
		return b, b.save()
	}
	if err != nil {
		return nil, fmt.Errorf("read the manager's lock: %w", err)
	}
	b := &strongbox{path: f.path(lockFile)}
	raw := content
	if identity.IsSealedFile(content) {
		if unlock == nil {
			return nil, errLocked
		}
		if raw, err = identity.OpenFile(*unlock, content, lockUse); err != nil {
			return nil, err
		}
		b.unlock = unlock
	}
	if b.key, err = identity.KeyFromBytes(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", b.path, err)
	}
	return b, nil
}

// save writes the lock's file.
func (b *strongbox) save() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.write(b.unlock)
}

// setUnlock changes the unlock key, nil for none, and returns once that is so on disk.
func (b *strongbox) setUnlock(k *identity.Key) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k == nil && b.unlock == nil || k != nil && b.unlock != nil && k.Equal(*b.unlock) {
		return nil
	}
	if err := b.write(k); err != nil {
		return err
	}
	b.unlock = k
	return nil
}

func (b *strongbox) write(unlock *identity.Key) error {
	content := b.key.Bytes()
	if unlock != nil {
		content = identity.SealFile(*unlock, content, lockUse)
	}
	return identity.WriteFile(b.path, content)
}

// seal is what a file of the manager's holds in the place of data.
func (b *strongbox) seal(data []byte, use string) []byte {
	if b == nil {
		return data
	}
	return identity.SealFile(b.key, data, use)
}

// open is the data of a file.
func (b *strongbox) open(content []byte, use string) ([]byte, error) {
	if b == nil {
		return content, nil
	}
	return identity.OpenFile(b.key, content, use)
}
