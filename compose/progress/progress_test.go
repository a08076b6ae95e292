package progress

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"charm.land/lipgloss/v2"
	"go.uber.org/goleak"

	"orch/compose"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func event(name string, phase compose.Phase, running int, why string) compose.Event {
	return compose.Event{Time: time.Now(), Kind: compose.KindService, Name: name, Phase: phase, Running: running, Desired: 2, Why: why}
}

func TestPlainWritesALinePerEvent(t *testing.T) {
	var out bytes.Buffer
	p := New(&out)
	p.Event(event("web", compose.Starting, 1, "waiting for\nits health check"))
	p.Event(compose.Event{Time: time.Now(), Kind: compose.KindNetwork, Name: "front", Phase: compose.Done})
	p.Close()
	want := "    0.0s  web starting 1/2: waiting for its health check\n    0.0s  network front created\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestLiveRedrawsInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var width atomic.Int64 // the window is resized while it is drawn in
		width.Store(60)
		l := NewLive(&out, func() (int, int) { return int(width.Load()), 24 }, false)
		l.Event(event("web", compose.Starting, 0, strings.Repeat("long ", 40)))
		l.Event(event("database", compose.Waiting, 0, ""))
		time.Sleep(150 * time.Millisecond)
		width.Store(40)
		l.Event(event("web", compose.Done, 2, ""))
		time.Sleep(100 * time.Millisecond)
		l.Close()
		frames := strings.Split(out.String(), "\x1b[2F")
		if len(frames) != 3 {
			t.Fatalf("%d frames, want 3: %q", len(frames), out.String())
		}
		for i, limit := range []int{60, 40, 40} {
			for _, line := range strings.Split(strings.ReplaceAll(frames[i], "\x1b[K", ""), "\n") {
				if w := lipgloss.Width(line); w > limit {
					t.Errorf("frame %d: line of %d columns in a window of %d: %q", i, w, limit, line)
				}
			}
		}
		if !strings.Contains(frames[2], "✔ web       2/2  done") {
			t.Errorf("last frame %q", frames[2])
		}
	})
}

func TestLiveClipsToTheWindow(t *testing.T) {
	l := &Live{size: func() (int, int) { return 80, 4 }, last: map[string]compose.Event{}, since: map[string]time.Time{}}
	var out bytes.Buffer
	l.out = &out
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		l.Event(event(n, compose.Starting, 0, ""))
	}
	l.draw(true)
	if l.drawn != 3 || !strings.Contains(out.String(), "and 3 more") {
		t.Errorf("drawn %d lines: %q", l.drawn, out.String())
	}
}
