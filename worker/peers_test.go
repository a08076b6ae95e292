package worker

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"orch/internal/bus"
	"orch/worker/engine/sim"
)

// noPeers is a cluster of one.
type noPeers struct{}

func (noPeers) Image(context.Context, bus.ImageRequest) (bus.ImageReply, error) {
	return bus.ImageReply{}, nil
}

// others answer in this order, and the last for ever.
type others struct {
	answers []func() (bus.ImageReply, error)
	asked   int
}

func (o *others) Image(context.Context, bus.ImageRequest) (bus.ImageReply, error) {
	o.asked++
	return o.answers[min(o.asked, len(o.answers))-1]()
}

// TestWhatNoRegistryHasComesFromAnotherNode, through a change of leaders and while it takes its time.
func TestWhatNoRegistryHasComesFromAnotherNode(t *testing.T) {
	const ref, built = "app:latest", "sha256:built"
	for name, c := range map[string]struct{ built, arrives, want string }{
		"by name":          {"", ref, ref},
		"a build":          {built, built, built},
		"an older build":   {built, "", ""},
		"a name that none": {"", "", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			absent := true
			e := sim.New(sim.Config{Pull: func(string) error {
				if absent {
					return errors.New("dial tcp: connection refused")
				}
				return nil
			}})
			coming := func() (bus.ImageReply, error) { return bus.ImageReply{Coming: true}, nil }
			o := &others{answers: []func() (bus.ImageReply, error){
				func() (bus.ImageReply, error) { return bus.ImageReply{}, bus.ErrNoManager }, coming, coming,
				func() (bus.ImageReply, error) {
					if c.arrives == "" {
						return bus.ImageReply{Why: "no other node has it either"}, nil
					}
					absent = false
					return bus.ImageReply{Here: true, From: "n2"}, e.Pull(t.Context(), c.arrives, "") // as if it were loaded
				},
			}}
			i := newImages(e, o, slog.New(slog.DiscardHandler))
			got, err := i.choose(t.Context(), "task", c.built, want{ref: ref})
			switch {
			case c.want == "" && (err == nil || !strings.Contains(err.Error(), "No such image: app:latest (dial tcp: connection refused); no other node has it either")):
				t.Errorf("%s: %v", name, err)
			case c.want != "" && (got != c.want || err != nil):
				t.Errorf("%s: runs %q, %v", name, got, err)
			}
			if o.asked != 4 {
				t.Errorf("%s: asked %d times", name, o.asked)
			}
		})
	}
}

// TestManagersThatDoNotAnswerDoNotHoldATaskUp for longer than a change of leaders takes.
func TestManagersThatDoNotAnswerDoNotHoldATaskUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := sim.New(sim.Config{Pull: func(string) error { return errors.New("no such image") }})
		i := newImages(e, &others{answers: []func() (bus.ImageReply, error){
			func() (bus.ImageReply, error) { return bus.ImageReply{}, bus.ErrNoManager },
		}}, slog.New(slog.DiscardHandler))
		began := time.Now()
		if _, err := i.choose(t.Context(), "task", "", want{ref: "app"}); err == nil || time.Since(began) > 10*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}
