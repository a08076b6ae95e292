// Package lab makes hosts on one machine for tests and benchmarks: each is a network, mount and UTS namespace with a dockerd
// of its own, on a bridge that joins them.
//
// It owns every process, cgroup, link, mount and directory that it makes: everything that runs on a host, containers
// included, is in one cgroup, so a host can be lost like a machine and nothing is left behind. A lab whose process died is
// swept by the next one. It knows nothing of orch; needs root, and never touches the machine's own dockerd.
package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// The lab's networks are 10.<id>.0.0/24 with the first free id of this range.
const firstID, lastID = 200, 239

// required makes missing prerequisites a failure instead of a skip.
const required = "ORCH_TEST_DOCKER"

// Lab is a set of hosts on one network.
type Lab struct {
	Hosts []*Host

	id   int
	dir  string
	lock *os.File
	// network is where the bridge is: a namespace of its own, so the machine's firewall has no say in the hosts' traffic.
	network netns.NsHandle
	// dockerd are additional arguments of every host's dockerd.
	dockerd []string
}

// Config says what a lab is made of.
type Config struct {
	Hosts   int
	Dockerd []string // additional arguments of dockerd, such as --live-restore
}

// Missing says why no lab can be made here; "" if one can.
func Missing() string {
	if os.Geteuid() != 0 {
		return "a lab needs root, for network namespaces"
	}
	for _, tool := range []string{"dockerd", "nsenter", "mount", "sh"} {
		if _, err := exec.LookPath(tool); err != nil {
			return tool + " is not installed"
		}
	}
	return ""
}

// New is a lab for one test, which is taken down at the test's end.
func New(t testing.TB, c Config) *Lab {
	t.Helper()
	if why := Missing(); why != "" {
		if os.Getenv(required) == "required" {
			t.Fatalf("%s=required, but %s", required, why)
		}
		t.Skip("SKIPPED: " + why)
	}
	l, err := Up(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// Up starts the hosts and waits until their dockerds answer. The caller calls Down, also after an error of its own.
func Up(ctx context.Context, c Config) (*Lab, error) {
	if err := sweep(); err != nil {
		return nil, fmt.Errorf("clean up after an earlier lab: %w", err)
	}
	l := &Lab{dockerd: c.Dockerd}
	if err := l.claim(); err != nil {
		return nil, err
	}
	for i := range c.Hosts {
		h, err := newHost(l, i+1)
		if err == nil {
			l.Hosts = append(l.Hosts, h)
			err = h.boot()
		}
		if err != nil {
			return nil, errors.Join(err, l.Down())
		}
	}
	for _, h := range l.Hosts {
		if err := h.ready(ctx); err != nil {
			return nil, errors.Join(err, l.Down())
		}
	}
	return l, nil
}

// Down ends all hosts and removes every trace of them.
func (l *Lab) Down() error {
	var errs []error
	for _, h := range l.Hosts {
		errs = append(errs, h.Kill())
	}
	errs = append(errs, remove(l.id, l.dir), l.network.Close(), l.lock.Close())
	return errors.Join(errs...)
}

func base() string            { return filepath.Join(os.TempDir(), "orch-lab") }
func groupName(id int) string { return "orchlab" + strconv.Itoa(id) }

// claim takes the first free id. A lock says that it is taken, since the kernel lets go of it whatever ends the process.
func (l *Lab) claim() error {
	for id := firstID; id <= lastID; id++ {
		dir := filepath.Join(base(), strconv.Itoa(id))
		lock, err := tryLock(dir)
		if err != nil {
			return err
		}
		if lock == nil {
			continue
		}
		l.id, l.dir, l.lock = id, dir, lock
		if err := remove(id, dir); err != nil { // what an earlier lab may have left
			return fmt.Errorf("clean up after an earlier lab: %w", err)
		}
		l.network, err = newSwitch()
		return err
	}
	return fmt.Errorf("all of %d labs are in use", lastID-firstID+1)
}

// tryLock is nil if another process has the lock.
func tryLock(dir string) (*os.File, error) {
	if err := os.MkdirAll(base(), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, f.Close()
	}
	return f, nil
}

// sweep removes labs whose process is gone.
func sweep() error {
	dirs, err := filepath.Glob(filepath.Join(base(), "*.lock"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range dirs {
		dir := strings.TrimSuffix(path, ".lock")
		id, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if lock, err := tryLock(dir); err != nil {
			errs = append(errs, err)
		} else if lock != nil {
			errs = append(errs, remove(id, dir), lock.Close())
		}
	}
	return errors.Join(errs...)
}

// remove ends what still runs in a lab, and takes its mounts and files away. Its links went with its namespaces.
func remove(id int, dir string) error {
	errs := []error{killGroup(groupName(id)), removeGroup(groupName(id))}
	unmountBelow(dir)
	return errors.Join(append(errs, os.RemoveAll(dir))...)
}

// unmountBelow detaches mounts that have outlived their namespace; those that are gone already are no error.
func unmountBelow(dir string) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			_ = syscall.Unmount(f[4], syscall.MNT_DETACH)
		}
	}
}

// until asks done again and again; what it waits for has no event to wait on.
func until(ctx context.Context, limit time.Duration, what string, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
	return nil
}
