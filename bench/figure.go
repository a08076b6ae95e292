package main

import (
	"fmt"
	"slices"
	"time"
)

// figure is a measured value beside what it must be.
type figure struct {
	name   string
	value  float64
	target float64 // at most, or at least
	least  bool    // more is better
	unit   string
	beside string  // absolute values of a ratio
	peer   string  // who else was measured
	other  float64 // the peer's value
	ahead  bool    // must be below the peer's, too
}

func (f figure) holds() bool {
	if f.least {
		return f.value >= f.target && (!f.ahead || f.value > f.other)
	}
	return f.value <= f.target && (!f.ahead || f.value < f.other)
}

func (f figure) String() string {
	bound := "≤"
	if f.least {
		bound = "≥"
	}
	s := fmt.Sprintf("%-52s %8.3f %-2s  target %s %.2f %s", f.name, f.value, f.unit, bound, f.target, f.unit)
	if f.beside != "" {
		s += "  (" + f.beside + ")"
	}
	if f.peer != "" {
		s += fmt.Sprintf("  %s %.3f %s", f.peer, f.other, f.unit)
	}
	if f.holds() {
		return s + "  holds"
	}
	return s + "  falls short"
}

// report prints a figure as soon as it is known: a run takes minutes.
func (b *bench) report(f figure) {
	b.figures = append(b.figures, f)
	fmt.Println(f)
}

func median(list []time.Duration) float64 {
	slices.Sort(list)
	return list[len(list)/2].Seconds()
}

// percentile is the value that p of all values do not exceed.
func percentile(list []time.Duration, p float64) float64 {
	slices.Sort(list)
	return list[min(int(float64(len(list))*p), len(list)-1)].Seconds()
}
