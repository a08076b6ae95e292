package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/bus"
)

const (
	savedName = "assignments.json"
	// saveEvery keeps a burst of statuses from being as many writes. What is lost
	// with them is only what the engine tells again.
	saveEvery = 250 * time.Millisecond
)

// saved is what an agent goes on from without managers: tasks with their last
// statuses, networks and services. Secrets, configs and registry credentials are not in it.
type saved struct {
	// Boot is the machine's boot; in another, nothing runs that ran.
	Boot string
	Set  bus.Assignments
}

// saver writes the last of what it is given, away from the loop.
type saver struct {
	path string
	next chan saved
}

func newSaver(dir string) *saver {
	return &saver{path: filepath.Join(dir, savedName), next: make(chan saved, 1)}
}

// save hands on what to write, in place of what was not written yet.
func (s *saver) save(v saved) {
	select {
	case <-s.next:
	default:
	}
	s.next <- v // the loop is the only sender
}

// run writes until the context ends, and then once more.
func (s *saver) run(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return fmt.Errorf("make the worker's directory: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			select {
			case v := <-s.next:
				return s.write(v)
			default:
				return nil
			}
		case v := <-s.next:
			if err := s.write(v); err != nil {
				return err
			}
		}
		select {
		case <-time.After(saveEvery):
		case <-ctx.Done():
		}
	}
}

// write replaces the file as a whole, durably.
func (s *saver) write(v saved) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("save the assignments in %s: %w", s.path, err)
		}
	}()
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(s.path), savedName+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone once it is renamed
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path)
}

func (s *saver) load() (saved, error) {
	var v saved
	data, err := os.ReadFile(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return v, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil {
		return saved{}, fmt.Errorf("read %s: %w", s.path, err)
	}
	return v, nil
}

// bootID tells this boot of the machine from others.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "" // no such system: every start is taken for the same boot
	}
	return strings.TrimSpace(string(id))
}

// snapshot is what is to be saved now.
func (a *Agent) snapshot() saved {
	v := saved{Boot: bootID(), Set: bus.Assignments{
		Cluster: a.ClusterID, Epoch: a.past.epoch, Histories: a.past.histories(), Networks: withoutKeys(sortedValues(a.set.networks)), Services: sortedValues(a.set.services),
	}}
	for _, t := range sortedValues(a.tasks) {
		if t.dropped {
			continue
		}
		kept := t.Task
		kept.PullAuth = ""
		v.Set.Tasks = append(v.Set.Tasks, kept)
	}
	return v
}

// withoutKeys are networks as they may be on disk.
func withoutKeys(networks []bus.Network) []bus.Network {
	for i, n := range networks {
		if n.Encryption != nil {
			networks[i].Encryption = &bus.Encryption{Mode: n.Encryption.Mode}
		}
	}
	return networks
}

// restore goes on from what was saved. After another boot the machine is what ended the tasks' processes.
func (a *Agent) restore(v saved) {
	a.past.take(v.Set)
	a.set.apply(bus.Assignments{Full: true, Networks: v.Set.Networks, Services: v.Set.Services})
	a.rotation.stale = true
	for _, kept := range v.Set.Tasks {
		t := newTask(kept)
		state := t.Status.State
		t.orphaned = v.Boot != bootID() && (state == swarm.TaskStateRunning || state == swarm.TaskStateStarting)
		a.tasks[t.ID] = t
	}
}
