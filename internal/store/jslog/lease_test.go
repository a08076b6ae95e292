package jslog

import (
	"context"
	"errors"
	"testing"
	"time"

	"orch/internal/bus/bustest"
	"orch/internal/store"
)

func TestLoneManagerLeadsAtOnceAfterKill(t *testing.T) {
	l, _ := open(t)
	first := campaign(t, l, "m1")
	// The process is gone without a word, and its lease is not: a new process of
	// the same node must not wait for it.
	began := time.Now()
	second := campaign(t, l, "m1")
	if took := time.Since(began); took > leaseTTL/4 {
		t.Errorf("took over its own lease after %s", took)
	}
	if second.Epoch == first.Epoch {
		t.Error("the epoch is the same")
	}
	_, err := l.Commit(t.Context(), store.Batch{Epoch: first.Epoch, Ops: []store.Op{{Key: "task.a", Value: []byte("x")}}})
	if !errors.Is(err, store.ErrFenced) {
		t.Errorf("a write of the epoch before: %v, want ErrFenced", err)
	}
	if _, err := l.Commit(t.Context(), store.Batch{Epoch: second.Epoch, Ops: []store.Op{{Key: "task.a", Value: []byte("x")}}}); err != nil {
		t.Errorf("the leader's write: %v", err)
	}
	select {
	case <-first.Lost().Done():
	case <-time.After(2 * leaseTTL):
		t.Error("the first did not notice")
	}
}

func TestResignationHandsOver(t *testing.T) {
	l, _ := open(t)
	first := campaign(t, l, "m1")
	next := make(chan *Leadership, 1)
	began := make(chan struct{})
	go func() {
		close(began)
		lead, err := l.Campaign(t.Context(), "m2")
		if err != nil {
			t.Error(err)
		}
		next <- lead
	}()
	<-began
	resigned := time.Now()
	if err := first.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	lead := <-next
	if lead.Missed != "" {
		t.Errorf("%s is missed though it resigned", lead.Missed)
	}
	if took := time.Since(resigned); took > leaseTTL/2 {
		t.Errorf("handed over after %s", took)
	}
	if first.Lost().Err() == nil {
		t.Error("the first leads on")
	}
	if err := lead.Resign(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLeaseOfALostLeaderRunsOut(t *testing.T) {
	l, _ := open(t)
	first := campaign(t, l, "m1")
	first.end() // dies: neither renews nor resigns
	<-first.ended
	began := time.Now()
	second := campaign(t, l, "m2")
	if second.Missed != "m1" {
		t.Errorf("%q is missed, want m1", second.Missed)
	}
	if took := time.Since(began); took < leaseTTL/2 || took > 2*leaseTTL {
		t.Errorf("took over after %s, want about %s", took, leaseTTL)
	}
}

func TestLeaseIsRenewed(t *testing.T) {
	l, s := open(t)
	lead := campaign(t, l, "m1")
	select {
	case <-lead.Lost().Done():
		t.Fatal("lost within three times its life")
	case <-time.After(3 * leaseTTL):
	}
	// Without a server it must know before anybody else can lead.
	bustest.Stop(t, s)
	select {
	case <-lead.Lost().Done():
	case <-time.After(leaseTTL + leaseTTL/2):
		t.Error("still leads without a server")
	}
}

func TestCampaignEndsWithItsContext(t *testing.T) {
	l, _ := open(t)
	campaign(t, l, "m1")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if lead, err := l.Campaign(ctx, "m2"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("campaign against a leader: %v, %v", lead, err)
	}
}

func campaign(t *testing.T, l *Log, node string) *Leadership {
	t.Helper()
	lead, err := l.Campaign(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lead.end(); <-lead.ended })
	return lead
}
