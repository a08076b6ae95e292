// Package files holds the secrets and configs of a node's tasks as files that containers mount. They live in a tmpfs that
// only root can enter, one directory per task, and never touch a disk. A file's owner and mode are those that the
// service asked for, which is why tasks do not share them.
//
// The directory outlives the worker's process, so containers keep their files over its restart; after a reboot it is empty.
package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/docker/docker/api/types/mount"
	"golang.org/x/sys/unix"
)

// File is one file of a task.
type File struct {
	// Target is its path in the container.
	Target   string
	Data     []byte
	UID, GID int
	Mode     os.FileMode
}

// Store is the directory of files of one node.
type Store struct {
	dir string

	mu      sync.Mutex // guards mounted
	mounted bool
}

// New is a store in a directory, which is made and mounted when the first file is put there.
func New(dir string) *Store { return &Store{dir: dir} }

// Put writes a task's files and returns how a container mounts them. Files that are there
// already are left alone: running containers have them mounted.
func (s *Store) Put(task string, files []File) ([]mount.Mount, error) {
	if len(files) == 0 {
		return nil, nil
	}
	if err := s.mount(); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.dir, task)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make room for the task's secrets: %w", err)
	}
	mounts := make([]mount.Mount, len(files))
	for i, f := range files {
		path := filepath.Join(dir, strconv.Itoa(i))
		if err := write(path, f); err != nil {
			return nil, fmt.Errorf("write %s for the task: %w", f.Target, err)
		}
		mounts[i] = mount.Mount{Type: mount.TypeBind, Source: path, Target: f.Target, ReadOnly: true}
	}
	return mounts, nil
}

// write makes a file under a name that only a whole one ever has.
func write(path string, f File) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	part := path + ".part"
	defer os.Remove(part)
	if err := os.WriteFile(part, f.Data, 0o600); err != nil {
		return err
	}
	if err := os.Chown(part, f.UID, f.GID); err != nil {
		return err
	}
	if err := os.Chmod(part, f.Mode); err != nil {
		return err
	}
	return os.Rename(part, path)
}

// Remove takes a task's files away.
func (s *Store) Remove(task string) error {
	if err := os.RemoveAll(filepath.Join(s.dir, task)); err != nil {
		return fmt.Errorf("remove the task's secrets: %w", err)
	}
	return nil
}

// Keep takes away the files of all tasks but these.
func (s *Store) Keep(tasks func(id string) bool) error {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for left secrets: %w", err)
	}
	for _, e := range entries {
		if !tasks(e.Name()) {
			err = errors.Join(err, s.Remove(e.Name()))
		}
	}
	return err
}

// Close unmounts the store. Files that containers still have mounted stay with them.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mounted = false
	err := unix.Unmount(s.dir, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // not mounted
		return fmt.Errorf("unmount %s: %w", s.dir, err)
	}
	return os.RemoveAll(s.dir)
}

// Owner and mode of the mount: nobody but root enters, and nothing in it is run or is a device.
const mountFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// mount makes the directory a tmpfs, once. One that is mounted already, or that lies
// in a tmpfs because the worker may not mount (no root), is taken as it is.
func (s *Store) mount() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mounted {
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of secrets: %w", err)
	}
	own, err := isMountPoint(s.dir)
	if err != nil {
		return fmt.Errorf("look at the directory of secrets: %w", err)
	}
	if !own {
		if err := mountTmpfs(s.dir); err != nil && !(errors.Is(err, unix.EPERM) && isTmpfs(s.dir)) {
			return fmt.Errorf("secrets and configs need a tmpfs at %s: %w; run the worker as root", s.dir, err)
		}
	}
	s.mounted = true
	return nil
}

// mountTmpfs mounts one that is never swapped out where the kernel knows such (6.4).
func mountTmpfs(dir string) error {
	err := unix.Mount("orch-secrets", dir, "tmpfs", mountFlags, "mode=0700,noswap")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("orch-secrets", dir, "tmpfs", mountFlags, "mode=0700")
	}
	return err
}

// isMountPoint says whether a directory is the root of a tmpfs of its own.
func isMountPoint(dir string) (bool, error) {
	var here, above unix.Stat_t
	if err := unix.Lstat(dir, &here); err != nil {
		return false, err
	}
	if err := unix.Lstat(filepath.Dir(dir), &above); err != nil {
		return false, err
	}
	return here.Dev != above.Dev && isTmpfs(dir), nil
}

func isTmpfs(dir string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && fs.Type == unix.TMPFS_MAGIC
}

// Whole says that all n files of a task are there.
func (s *Store) Whole(task string, n int) bool {
	for i := range n {
		if _, err := os.Lstat(filepath.Join(s.dir, task, strconv.Itoa(i))); err != nil {
			return false
		}
	}
	return true
}
