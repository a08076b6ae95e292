package store_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"orch/internal/store"
	"orch/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemLog(t *testing.T) {
	storetest.Log(t, func(*testing.T) store.Log { return store.NewMemLog() })
}

// open is a running store on a log of its own.
func open(t *testing.T, log store.Log) *store.Store {
	s := store.New(log)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	<-s.Ready()
	return s
}

func service(id, name string) *store.Service {
	s := &store.Service{}
	s.ID, s.Spec.Name = id, name
	return s
}

func update(t *testing.T, s *store.Store, fn func(*store.Tx)) {
	t.Helper()
	if err := s.Update(t.Context(), func(tx *store.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatalf("update: %v", err)
	}
}

func TestUpdateReadsItsOwnWrite(t *testing.T) {
	s := open(t, store.NewMemLog())
	update(t, s, func(tx *store.Tx) { tx.Put(service("s1", "web")) })
	got := s.View().Service("s1")
	if got == nil || got.Spec.Name != "web" || got.Version.Index == 0 || got.CreatedAt.IsZero() {
		t.Fatalf("service after its creation: %+v", got)
	}
	before := got.Version.Index
	update(t, s, func(tx *store.Tx) {
		c := *tx.Service("s1")
		c.Spec.Labels = map[string]string{"a": "b"}
		tx.Put(&c)
	})
	after := s.View().Service("s1")
	if after.Version.Index <= before || !after.CreatedAt.Equal(got.CreatedAt) {
		t.Errorf("version %d then %d, created %v then %v", before, after.Version.Index, got.CreatedAt, after.CreatedAt)
	}
}

func TestViewIsImmutable(t *testing.T) {
	s := open(t, store.NewMemLog())
	update(t, s, func(tx *store.Tx) { tx.Put(service("s1", "web")) })
	old := s.View()
	update(t, s, func(tx *store.Tx) { tx.Delete(tx.Service("s1")) })
	if old.Service("s1") == nil || s.View().Service("s1") != nil {
		t.Error("the old view must still have the service and the new one must not")
	}
}

func TestUpdateOfAnErrorWritesNothing(t *testing.T) {
	s := open(t, store.NewMemLog())
	refused := errors.New("refused")
	err := s.Update(t.Context(), func(tx *store.Tx) error { tx.Put(service("s1", "web")); return refused })
	if !errors.Is(err, refused) || len(s.View().Services(store.All())) != 0 {
		t.Errorf("error %v, services %v", err, s.View().Services(store.All()))
	}
}

// Two managers on one log: the second one's view is behind when it writes.
func TestUpdateRetriesAConflict(t *testing.T) {
	log := store.NewMemLog()
	a, b := open(t, log), open(t, log)
	update(t, a, func(tx *store.Tx) { tx.Put(service("s1", "web")) })
	for range 50 {
		for _, s := range []*store.Store{a, b} {
			update(t, s, func(tx *store.Tx) {
				c := store.Service{SpecVersion: 1}
				if old := tx.Service("s1"); old != nil {
					c = *old
					c.SpecVersion++
				} else {
					c.ID, c.Spec.Name = "s1", "web"
				}
				tx.Put(&c)
			})
		}
	}
	if got := a.View().Service("s1").SpecVersion; got < 99 {
		t.Errorf("100 increments counted to %d: some were lost", got)
	}
}

func TestNameIsUniqueAcrossManagers(t *testing.T) {
	log := store.NewMemLog()
	a, b := open(t, log), open(t, log)
	taken := errors.New("taken")
	create := func(s *store.Store, id string) error {
		return s.Update(t.Context(), func(tx *store.Tx) error {
			if len(tx.Services(store.Name("web"))) > 0 {
				return taken
			}
			tx.Put(service(id, "web"))
			return nil
		})
	}
	if err := create(a, "s1"); err != nil {
		t.Fatal(err)
	}
	if err := create(b, "s2"); !errors.Is(err, taken) {
		t.Errorf("second owner of a name: %v, want it refused", err)
	}
	update(t, a, func(tx *store.Tx) { tx.Delete(tx.Service("s1")) })
	if err := create(a, "s3"); err != nil {
		t.Errorf("the name is free again: %v", err)
	}
	// Removed and created in one transaction: the claim changes hands.
	update(t, a, func(tx *store.Tx) {
		tx.Delete(tx.Service("s3"))
		tx.Put(service("s4", "web"))
	})
	if err := create(b, "s5"); !errors.Is(err, taken) {
		t.Errorf("name held by s4: %v, want it refused", err)
	}
}

func TestFencedUpdate(t *testing.T) {
	log := store.NewMemLog()
	s := open(t, log)
	epoch, err := log.Commit(t.Context(), store.Batch{Ops: []store.Op{{Key: store.EpochKey, Value: []byte("1")}}})
	if err != nil {
		t.Fatal(err)
	}
	put := func(tx *store.Tx) error { tx.Put(service("s1", "web")); return nil }
	if err := s.UpdateFenced(t.Context(), epoch+1, put); !errors.Is(err, store.ErrFenced) {
		t.Errorf("wrong epoch: %v, want ErrFenced", err)
	}
	if err := s.UpdateFenced(t.Context(), epoch, put); err != nil {
		t.Errorf("right epoch: %v", err)
	}
}

func TestIndexes(t *testing.T) {
	s := open(t, store.NewMemLog())
	update(t, s, func(tx *store.Tx) {
		for _, x := range []struct{ id, service, node string }{{"t1", "s", "n1"}, {"t2", "s", ""}, {"t3", "sx", "n1"}} {
			task := &store.Task{}
			task.ID, task.ServiceID, task.NodeID = x.id, x.service, x.node
			tx.Put(task)
		}
		tx.Put(service("a1", "web"))
		tx.Put(service("a2", "web2"))
	})
	v := s.View()
	ids := func(tasks []*store.Task) (ids []string) {
		for _, t := range tasks {
			ids = append(ids, t.ID)
		}
		return ids
	}
	for name, c := range map[string]struct {
		by   store.By
		want []string
	}{
		"of a service":     {store.OfService("s"), []string{"t1", "t2"}},
		"on a node":        {store.OnNode("n1"), []string{"t1", "t3"}},
		"by ID's prefix":   {store.IDPrefix("t"), []string{"t1", "t2", "t3"}},
		"by a whole ID":    {store.IDPrefix("t2"), []string{"t2"}},
		"all":              {store.All(), []string{"t1", "t2", "t3"}},
		"of no such thing": {store.OfService("zz"), nil},
	} {
		if diff := cmp.Diff(c.want, ids(v.Tasks(c.by))); diff != "" {
			t.Errorf("tasks %s (-want +got):\n%s", name, diff)
		}
	}
	if got := len(v.Services(store.Name("web"))); got != 1 {
		t.Errorf("services named web: %d, want 1", got)
	}
	if got := len(v.Services(store.NamePrefix("web"))); got != 2 {
		t.Errorf("services named web*: %d, want 2", got)
	}
}

func TestWatch(t *testing.T) {
	s := open(t, store.NewMemLog())
	w, _ := s.Watch(store.KindService)
	defer w.Close()
	update(t, s, func(tx *store.Tx) {
		tx.Put(service("s1", "web"))
		n := &store.Node{Node: swarm.Node{ID: "n1"}}
		tx.Put(n)
	})
	update(t, s, func(tx *store.Tx) { tx.Delete(tx.Service("s1")) })
	<-w.C()
	changes, lost := w.Take()
	if lost || len(changes) != 2 || changes[0].Old != nil || changes[1].New != nil || changes[1].ID() != "s1" {
		t.Errorf("changes %+v, lost %v: want s1 created and removed", changes, lost)
	}
}

func TestLargeTransactionIsSplit(t *testing.T) {
	s := open(t, store.NewMemLog())
	update(t, s, func(tx *store.Tx) {
		for i := range 2*store.MaxBatch + 5 {
			task := &store.Task{}
			task.ID = string(rune('a'+i%26)) + time.Duration(i).String()
			tx.Put(task)
		}
	})
	if got := len(s.View().Tasks(store.All())); got != 2*store.MaxBatch+5 {
		t.Errorf("%d tasks", got)
	}
}

func TestUnreadableObjectStopsTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := store.NewMemLog()
		if _, err := log.Commit(t.Context(), store.Batch{Ops: []store.Op{{Key: "task.x", Value: []byte("{")}}}); err != nil {
			t.Fatal(err)
		}
		if err := store.New(log).Run(t.Context()); err == nil {
			t.Error("an unreadable task was passed over")
		}
	})
}
