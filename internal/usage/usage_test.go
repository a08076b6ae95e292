package usage

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"
)

func TestRatesAreOfTheTimeBetween(t *testing.T) {
	got := Between(Counters{CPU: 1e9, In: 100, Out: 50}, Counters{CPU: 2e9, Memory: 7, Limit: 9, In: 300, Out: 40}, 2*time.Second)
	if d := cmp.Diff(Rates{CPU: 0.5, Memory: 7, Limit: 9, In: 100}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := Between(Counters{}, Counters{CPU: 1}, 0); got.CPU != 0 {
		t.Errorf("in no time: %v", got)
	}
}

func TestCachesAreNotCounted(t *testing.T) {
	var s container.StatsResponse
	s.MemoryStats.Usage, s.MemoryStats.Stats = 100, map[string]uint64{"inactive_file": 30}
	s.Networks = map[string]container.NetworkStats{"eth0": {RxBytes: 1, TxBytes: 2}, "eth1": {RxBytes: 3}}
	if d := cmp.Diff(Counters{Memory: 70, In: 4, Out: 2}, OfContainer(s)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
