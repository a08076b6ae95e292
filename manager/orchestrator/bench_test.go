package orchestrator_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
	"orch/manager/allocator"
	"orch/manager/orchestrator"
	"orch/manager/scheduler"
)

// BenchmarkPass is one pass over 1,000 services with 5,000 running tasks on 50
// nodes: with nothing to do, and with one failed task to replace.
func BenchmarkPass(b *testing.B) {
	s := store.New(store.NewMemLog())
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	<-s.Ready()
	var services []string
	err := s.Update(ctx, func(tx *store.Tx) error {
		for i := range 50 {
			tx.Put(newNode(fmt.Sprintf("n%d", i)))
		}
		for i := range 1000 {
			web := newService(fmt.Sprintf("s%04d", i), 5)
			services = append(services, web.ID)
			tx.Put(web)
		}
		pass(tx, services)
		for _, t := range tx.Tasks(store.All()) {
			running := *t
			running.Status.State = swarm.TaskStateRunning
			tx.Put(&running)
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("idle", func(b *testing.B) {
		for b.Loop() {
			tx := s.View().NewTx(time.Now())
			pass(tx, nil)
			if len(tx.Changes()) != 0 {
				b.Fatal("an idle pass changed something")
			}
		}
	})
	b.Run("all-due", func(b *testing.B) {
		for b.Loop() {
			tx := s.View().NewTx(time.Now())
			pass(tx, services)
			if len(tx.Changes()) != 0 {
				b.Fatal("an idle pass changed something")
			}
		}
	})
	b.Run("one-failure", func(b *testing.B) {
		for b.Loop() {
			tx := s.View().NewTx(time.Now())
			failed := *tx.Tasks(store.OfService(services[0]))[0]
			failed.Status.State = swarm.TaskStateFailed
			tx.Put(&failed)
			pass(tx, orchestrator.Affected(&tx.View, tx.Changes()))
			if len(tx.Tasks(store.OfService(services[0]))) != 6 {
				b.Fatal("the failed task was not replaced")
			}
		}
	})
}

func pass(tx *store.Tx, services []string) {
	orchestrator.Reconcile(tx, services)
	allocator.Allocate(tx, services)
	scheduler.Schedule(tx)
	allocator.AttachNodes(tx)
}
