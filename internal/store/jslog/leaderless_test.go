package jslog

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"orch/internal/bus"
)

// While the stream has no leader, a copy that has nothing yet answers for it: no reason for the alarm that the state has gone back.
func TestACopyIsNotTakenForTheStream(t *testing.T) {
	l, _ := open(t)
	for _, c := range []struct {
		leader string
		want   error
	}{{"", errLeaderless}, {"m1", bus.ErrDamaged}} {
		stream := &answering{Stream: l.stream, info: jetstream.StreamInfo{Cluster: &jetstream.ClusterInfo{Leader: c.leader}}}
		other := *l
		other.stream = stream
		err := other.read(t.Context(), &assembler{last: 51})
		if alarm := new(fatalError); errors.As(err, &alarm) {
			err = alarm.error
		}
		if !errors.Is(err, c.want) {
			t.Errorf("an empty answer with leader %q: %v, want %v", c.leader, err, c.want)
		}
	}
}

type answering struct {
	jetstream.Stream
	info jetstream.StreamInfo
}

func (a *answering) Info(context.Context, ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	return &a.info, nil
}
