package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"orch/internal/bus"
	"orch/internal/bus/bustest"
	"orch/internal/identity"
	"orch/internal/snapshot"
	"orch/internal/store"
)

// keeper is a manager whose directory can be tampered with between two runs.
type keeper struct {
	t   *testing.T
	cfg Config
}

func newKeeper(t *testing.T) *keeper {
	cluster := bustest.New(t)
	return &keeper{t: t, cfg: Config{
		NodeID: "m1", ClusterID: bustest.ClusterID, Dir: t.TempDir(), SnapshotDir: t.TempDir(),
		ClientAddr: "127.0.0.1:0", RouteAddr: "127.0.0.1:0", AdmitAddr: "127.0.0.1:0",
		Identity: cluster.Node(t, "m1", identity.Manager, bustest.ClusterID), Seal: identity.NewKey(),
		Founding: &Founding{CA: cluster.CA, Addr: "127.0.0.1:2377"}, Log: slog.New(slog.DiscardHandler),
	}}
}

// run has the manager run, does something, and stops it cleanly.
func (k *keeper) run(do func(*Manager)) error {
	k.t.Helper()
	m, err := Start(k.t.Context(), k.cfg)
	if err != nil {
		return err
	}
	k.cfg.Founding = nil
	ctx, cancel := context.WithCancel(k.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	do(m)
	cancel()
	err = <-ended
	m.Stop()
	return err
}

// fill writes configs, from and below to, and removes one that was there before.
func fill(t *testing.T, m *Manager, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		err := m.Store().Update(t.Context(), func(tx *store.Tx) error {
			c := &store.Config{}
			c.ID = fmt.Sprintf("c%d", i)
			c.Spec.Name, c.Spec.Data = c.ID, []byte(strings.Repeat("x", 500))
			tx.Put(c)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err := m.Store().Update(t.Context(), func(tx *store.Tx) error {
		if c := tx.Config(fmt.Sprintf("c%d", from)); c != nil {
			tx.Delete(c)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// contents is what the manager's state holds besides what it keeps changing itself.
func contents(m *Manager) (all []string) {
	for _, c := range m.Store().View().Configs(store.All()) {
		all = append(all, c.ID+" "+string(c.Spec.Data))
	}
	slices.Sort(all)
	return all
}

// However a file of the stream is damaged, the manager either has everything or refuses, and says
// what to do; a restore from its copy has everything.
func TestADamagedStreamIsAnAlarmAndNeverAnOrder(t *testing.T) {
	k := newKeeper(t)
	var want []string
	if err := k.run(func(m *Manager) { fill(t, m, 0, 40) }); err != nil {
		t.Fatal(err)
	}
	if err := k.run(func(m *Manager) { want = contents(m) }); err != nil {
		t.Fatal(err)
	}
	if len(want) != 39 {
		t.Fatalf("%d configs", len(want))
	}
	good := bustest.Copy(t, k.cfg.Dir)
	alarms := 0
	for name, tamper := range damages(t, good) {
		t.Run(name, func(t *testing.T) {
			k.t, k.cfg.Dir = t, t.TempDir()
			if err := os.CopyFS(k.cfg.Dir, os.DirFS(good)); err != nil {
				t.Fatal(err)
			}
			tamper(k.cfg.Dir)
			var got []string
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			m, err := Start(ctx, k.cfg)
			if err == nil {
				got = contents(m)
				m.Stop()
			}
			switch {
			case err == nil && !slices.Equal(got, want):
				t.Errorf("serves %d of %d objects without a word", len(got), len(want))
			case err != nil && !errors.Is(err, bus.ErrDamaged):
				t.Errorf("an error that is no alarm: %v", err)
			case err != nil:
				alarms++
				if !strings.Contains(err.Error(), "orch restore") {
					t.Errorf("the alarm does not say what to do: %v", err)
				}
			}
		})
	}
	if alarms == 0 {
		t.Error("no damage was noticed")
	}

	k.t, k.cfg.Dir = t, t.TempDir()
	snap, _, err := snapshot.Shelf{Dir: k.cfg.SnapshotDir, Key: k.cfg.Seal}.Newest()
	if err != nil || snap == nil {
		t.Fatal(snap, err)
	}
	k.cfg.Founding = &Founding{Restore: snap, Addr: "127.0.0.1:2377"}
	var got []string
	if err := k.run(func(m *Manager) {
		got = contents(m)
		if c := m.Store().View().Cluster(); len(c.Histories) != 2 || c.Version.Index <= snap.Seq {
			t.Errorf("restored into histories %v at %d, the copy was of %d", c.Histories, c.Version.Index, snap.Seq)
		}
		fill(t, m, 100, 101) // and it goes on
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("restored %d of %d objects", len(got), len(want))
	}
	if err := k.run(func(*Manager) {}); err != nil {
		t.Errorf("start again after a restore: %v", err)
	}
}

// damages are what power cuts, bad disks and people do to the files below a directory.
func damages(t *testing.T, dir string) map[string]func(dir string) {
	t.Helper()
	all := map[string]func(string){
		"the stream's directory is gone": func(dir string) { remove(t, dir, "jetstream", "ORCH") },
		"everything but the mark is gone": func(dir string) {
			remove(t, dir, "jetstream")
		},
		"an empty directory": func(dir string) {
			remove(t, dir, "jetstream")
			remove(t, dir, "founded")
		},
	}
	err := filepath.WalkDir(filepath.Join(dir, "jetstream", "ORCH"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		all["truncated "+rel] = func(dir string) { change(t, filepath.Join(dir, rel), func(b []byte) []byte { return b[:len(b)/2] }) }
		all["emptied "+rel] = func(dir string) { change(t, filepath.Join(dir, rel), func([]byte) []byte { return nil }) }
		all["flipped a bit of "+rel] = func(dir string) {
			change(t, filepath.Join(dir, rel), func(b []byte) []byte {
				if len(b) > 0 {
					b[len(b)/2] ^= 1
				}
				return b
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func remove(t *testing.T, dir string, path ...string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(append([]string{dir}, path...)...)); err != nil {
		t.Fatal(err)
	}
}

func change(t *testing.T, path string, how func([]byte) []byte) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, how(content), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A stream that somebody deletes ends the manager; it does not go on with an empty one.
func TestAStreamDeletedByHandEndsTheManager(t *testing.T) {
	k := newKeeper(t)
	if err := k.run(func(m *Manager) { fill(t, m, 0, 3) }); err != nil {
		t.Fatal(err)
	}
	m, err := Start(t.Context(), k.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Stop()
	ended := make(chan error, 1)
	go func() { ended <- m.Run(t.Context()) }()
	js, err := jetstream.New(m.Bus().State())
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), bus.StateStream); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, bus.ErrDamaged) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the manager goes on without its state")
	}
	if got := contents(m); len(got) != 2 {
		t.Errorf("its view holds %d objects", len(got))
	}
}

// A directory that was put back from an older copy by hand is one that went back.
func TestAnOlderCopyOfTheStreamIsRefused(t *testing.T) {
	k := newKeeper(t)
	if err := k.run(func(m *Manager) { fill(t, m, 0, 5) }); err != nil {
		t.Fatal(err)
	}
	older := bustest.Copy(t, k.cfg.Dir)
	if err := k.run(func(m *Manager) { fill(t, m, 5, 10) }); err != nil {
		t.Fatal(err)
	}
	k.cfg.Dir = older
	if _, err := Start(t.Context(), k.cfg); !errors.Is(err, bus.ErrDamaged) || !strings.Contains(err.Error(), "gone back from write") {
		t.Errorf("started from an older copy: %v", err)
	}
}
