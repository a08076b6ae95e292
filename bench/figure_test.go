package main

import (
	"testing"
	"time"
)

func TestAFigureHolds(t *testing.T) {
	for _, c := range []struct {
		name string
		f    figure
		want bool
	}{
		{"at its target", figure{value: 1, target: 1}, true},
		{"above its target", figure{value: 1.01, target: 1}, false},
		{"behind a peer that it only stands beside", figure{value: 1, target: 1, peer: "p", other: 0.5}, true},
		{"behind a peer that it must be ahead of", figure{value: 1, target: 1, peer: "p", other: 0.5, ahead: true}, false},
		{"at least its target", figure{value: 1, target: 1, least: true}, true},
		{"below its least", figure{value: 0.99, target: 1, least: true}, false},
		{"level with a peer that it must be ahead of", figure{value: 1, target: 1, peer: "p", other: 1, ahead: true}, false},
	} {
		if got := c.f.holds(); got != c.want {
			t.Errorf("%s: holds is %v", c.name, got)
		}
	}
}

func TestMedianAndPercentile(t *testing.T) {
	var list []time.Duration
	for i := 100; i > 0; i-- {
		list = append(list, time.Duration(i)*time.Second)
	}
	if got := median([]time.Duration{3 * time.Second, time.Second, 2 * time.Second}); got != 2 {
		t.Errorf("median is %v", got)
	}
	if got := percentile(list, 0.99); got != 100 {
		t.Errorf("p99 of 1 to 100 is %v", got)
	}
}
