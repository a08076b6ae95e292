package lab

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// killLimit bounds the wait for killed processes to be gone.
const killLimit = 10 * time.Second

// groupRoot is where cgroups that hold processes are made: the unified hierarchy, or the pids controller's of version 1.
func groupRoot() string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return "/sys/fs/cgroup"
	}
	return "/sys/fs/cgroup/pids"
}

func makeGroup(name string) (procs string, err error) {
	dir := filepath.Join(groupRoot(), name)
	return filepath.Join(dir, "cgroup.procs"), os.MkdirAll(dir, 0o755)
}

// groupProcesses are all processes in a cgroup and below it.
func groupProcesses(name string) []int {
	var pids []int
	_ = filepath.WalkDir(filepath.Join(groupRoot(), name), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return nil // what has gone meanwhile has no processes
		}
		b, _ := os.ReadFile(path)
		for _, s := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(s); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}

// killGroup kills until nothing is left: processes may fork between the look and the kill.
func killGroup(name string) error {
	return until(context.Background(), killLimit, "kill the processes of "+name, func() bool {
		pids := groupProcesses(name)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return len(pids) == 0
	})
}

// removeGroup removes an empty cgroup of every controller, the deepest first.
func removeGroup(name string) error {
	tops := []string{filepath.Join("/sys/fs/cgroup", name)}
	if more, err := filepath.Glob(filepath.Join("/sys/fs/cgroup", "*", name)); err == nil {
		tops = append(tops, more...)
	}
	var errs []error
	for _, top := range tops {
		var dirs []string
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			// The kernel lets go of a cgroup a moment after its last process.
			err := until(context.Background(), killLimit, "remove cgroup "+dirs[i], func() bool {
				err := os.Remove(dirs[i])
				return err == nil || errors.Is(err, fs.ErrNotExist)
			})
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
