// Package usage is what a node and its tasks use, as `GET /nodes/{id}/usage` streams it: one JSON object per line. It owns the form
// alone; the daemon measures, the dashboard draws.
package usage

import "time"

// Every is how often a node measures while somebody listens.
const Every = 2 * time.Second

// Sample is a node's and its tasks' at one time.
type Sample struct {
	At    time.Time
	Node  Counters
	Tasks map[string]Counters // by task ID
}

// Counters are what has been used since the beginning, but for memory, which is used now. What is not known is 0.
type Counters struct {
	CPU    uint64 `json:",omitempty"` // nanoseconds of one processor
	Memory uint64 `json:",omitempty"` // bytes, without caches that can be dropped
	Limit  uint64 `json:",omitempty"` // bytes that Memory can grow to
	In     uint64 `json:",omitempty"` // bytes received over networks
	Out    uint64 `json:",omitempty"`
}

// Rates are what is used now.
type Rates struct {
	CPU     float64 // processors
	Memory  float64 // bytes
	Limit   float64
	In, Out float64 // bytes per second
}

// Between is what was used between two measurements; counters that went back, as those of a container that was started again do,
// count from nothing.
func Between(before, after Counters, took time.Duration) Rates {
	r := Rates{Memory: float64(after.Memory), Limit: float64(after.Limit)}
	if took <= 0 {
		return r
	}
	per := func(before, after uint64) float64 {
		if after < before {
			return 0
		}
		return float64(after-before) / took.Seconds()
	}
	r.CPU = per(before.CPU, after.CPU) / float64(time.Second)
	r.In, r.Out = per(before.In, after.In), per(before.Out, after.Out)
	return r
}

// Plus adds up.
func (r Rates) Plus(o Rates) Rates {
	return Rates{r.CPU + o.CPU, r.Memory + o.Memory, r.Limit + o.Limit, r.In + o.In, r.Out + o.Out}
}
