package feed

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"orch/internal/usage"
)

// Two samples of a node are a rate; a node that fails, is late or is out of reach is named, and holds nobody up for longer.
func TestMeasureCollects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), measureTimeout)
		defer cancel()
		samples := make(chan Usage, 3)
		at, broken := time.Now(), errors.New("no such API")
		samples <- Usage{Node: "a", Sample: usage.Sample{At: at, Tasks: map[string]usage.Counters{"t": {CPU: 0, In: 100}}}}
		samples <- Usage{Node: "b", Err: broken}
		samples <- Usage{Node: "a", Sample: usage.Sample{At: at.Add(2 * time.Second), Tasks: map[string]usage.Counters{"t": {CPU: 1e9, In: 300, Memory: 5}}}}
		rates, missing := collect(ctx, Wanted{Orch: true, Nodes: []string{"a", "b", "c"}}, samples)
		if d := cmp.Diff(map[string]Rates{"t": {CPU: 0.5, In: 100, Memory: 5}}, rates); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(map[string]error{"b": broken, "c": errLate}, missing, cmpopts.EquateErrors()); d != "" {
			t.Error(d)
		}
		_, missing = collect(ctx, Wanted{Self: "a", Nodes: []string{"b"}}, samples)
		if d := cmp.Diff(map[string]error{"b": errElsewhere}, missing, cmpopts.EquateErrors()); d != "" {
			t.Error(d)
		}
	})
}
