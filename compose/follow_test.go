package compose

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"
)

// A rollback that was asked for is a success when it is done, and a failure when it is paused.
func TestFollowARollback(t *testing.T) {
	for ending, want := range map[swarm.UpdateState]string{swarm.UpdateStateRollbackCompleted: "", swarm.UpdateStateRollbackPaused: "service s_a failed"} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster()
			if err := deployOf(t, c, "services: {a: {image: a}}", PlanOptions{}); err != nil {
				t.Fatal(err)
			}
			s := c.services["s_a"]
			s.UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStateRollbackStarted}
			began := time.Now()
			time.AfterFunc(time.Second, func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				s.UpdateStatus = &swarm.UpdateStatus{State: ending, Message: "rollback ended"}
			})
			var shown []Phase
			err := Follow(t.Context(), c, *s, true, Options{Progress: func(e Event) { shown = append(shown, e.Phase) }})
			if got := errorText(err); got != want && !strings.HasPrefix(got, want+"\n") {
				t.Errorf("%s: %q, want %q", ending, got, want)
			}
			if time.Since(began) < time.Second || shown[0] != Updating {
				t.Errorf("%s: not waited for: %v", ending, shown)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestFollowIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		if err := deployOf(t, c, "services: {a: {image: a}}", PlanOptions{}); err != nil {
			t.Fatal(err)
		}
		c.behave = runsAfter(time.Hour)
		err := Follow(t.Context(), c, *c.services["s_a"], false, Options{Timeout: time.Minute})
		var late *NotHealthyError
		if !errors.As(err, &late) || late.Service != "s_a" {
			t.Errorf("err = %v", err)
		}
	})
}
