package feed

import (
	"errors"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
)

func TestStaleKeepsTheFirstMoment(t *testing.T) {
	first := time.Unix(10, 0)
	s := stale(stale(State{}, errors.New("a"), first), errors.New("b"), first.Add(time.Minute))
	if !s.StaleSince.Equal(first) || s.Err.Error() != "b" {
		t.Errorf("stale since %v with %v", s.StaleSince, s.Err)
	}
}

func TestRememberIsBoundedAndLeavesOldSnapshotsAlone(t *testing.T) {
	var kept []events.Message
	for i := range keptEvents + 5 {
		kept = remember(kept, events.Message{Time: int64(i)})
	}
	before := kept
	after := remember(kept, events.Message{Time: 999})
	if len(after) != keptEvents || before[0].Time != 5 || after[len(after)-1].Time != 999 {
		t.Errorf("kept %d, first before %d", len(after), before[0].Time)
	}
}
