package feed

import (
	"context"
	"errors"

	"orch/internal/usage"
)

// Rates are what a task or node uses now.
type Rates = usage.Rates

// measureTimeout bounds the wait for the second measurement of a node, without which there is no rate.
const measureTimeout = 4 * usage.Every

// Measure takes two measurements of each wanted node and returns what its tasks used in between, and why there are none of
// some nodes.
func Measure(ctx context.Context, p *Pool, w Wanted) (rates map[string]Rates, missing map[string]error) {
	ctx, cancel := context.WithTimeout(ctx, measureTimeout)
	samples := make(chan Usage)
	m := NewMeter(ctx, p, func(u Usage) {
		select {
		case samples <- u:
		case <-ctx.Done():
		}
	})
	defer m.Wait()
	defer cancel()
	m.Want(w)
	return collect(ctx, w, samples)
}

// Why a node has no measurements.
var (
	errLate      = errors.New("it did not answer in time")
	errElsewhere = errors.New("it is another machine than the one that answers")
)

// collect makes rates of the first two samples of each node, until all are there or the context ends.
func collect(ctx context.Context, w Wanted, samples <-chan Usage) (rates map[string]Rates, missing map[string]error) {
	rates, missing = map[string]Rates{}, map[string]error{}
	first, waiting := map[string]usage.Sample{}, map[string]bool{}
	for _, node := range w.Nodes {
		if missing[node] = errElsewhere; w.Orch || node == w.Self {
			missing[node], waiting[node] = errLate, true
		}
	}
	for len(waiting) > 0 {
		select {
		case u := <-samples:
			before, again := first[u.Node]
			switch {
			case u.Err != nil:
				missing[u.Node] = u.Err
				delete(waiting, u.Node)
			case !again:
				first[u.Node] = u.Sample
			default:
				for task, c := range u.Tasks {
					rates[task] = usage.Between(before.Tasks[task], c, u.At.Sub(before.At))
				}
				delete(missing, u.Node)
				delete(waiting, u.Node)
			}
		case <-ctx.Done():
			return rates, missing
		}
	}
	return rates, missing
}
