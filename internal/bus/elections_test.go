package bus

import (
	"os"
	"testing"
)

// The linker finds the server's variables by name. If they have moved, what
// they hold is neither its stock values nor ours.
func TestElectionTimingReachesTheServer(t *testing.T) {
	before := currentTiming()
	if before != stockTiming && before != fastTiming {
		t.Fatalf("the server's timing is %v, want %v: its variables have moved or changed", before, stockTiming)
	}
	quickenElections()
	want := fastTiming
	if os.Getenv(StockElectionsEnv) == "1" {
		want = stockTiming
	}
	if got := currentTiming(); got != want {
		t.Errorf("timing %v, want %v", got, want)
	}
}
