package nft

import (
	"net/netip"
	"slices"
	"testing"
)

func TestStickyClientsStayWhenAnotherTaskLeaves(t *testing.T) {
	var all []netip.Addr
	for i := range 10 {
		all = append(all, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 2)}))
	}
	before, share := Slots(all), map[netip.Addr]int{}
	for _, a := range before {
		share[a]++
	}
	for _, a := range all {
		if share[a] < slots/len(all)/2 || share[a] > slots/len(all)*2 {
			t.Errorf("%s has %d of %d parts", a, share[a], slots)
		}
	}
	gone := all[3]
	after := Slots(slices.Delete(slices.Clone(all), 3, 4))
	for i := range before {
		switch {
		case after[i] == gone:
			t.Errorf("part %d leads to the one that left", i)
		case before[i] != gone && after[i] != before[i]:
			t.Errorf("part %d moved from %s to %s", i, before[i], after[i])
		}
	}
}
