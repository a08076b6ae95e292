package nft

import (
	"context"
	"os"
	"runtime"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inside runs f in a network namespace that ends with it.
func inside(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ns, err := netns.New()
		if err != nil {
			t.Error(err)
			return
		}
		defer ns.Close()
		f()
	}()
	<-done
}

func TestAnEyeSeesWhatChanges(t *testing.T) {
	inside(t, func() {
		eye, err := Open(0)
		if err != nil {
			t.Error(err)
			return
		}
		defer eye.Close()
		generation := func() uint32 {
			n, err := eye.Generation()
			if err != nil {
				t.Error(err)
			}
			return n
		}
		table := &nftables.Table{Name: "looked", Family: nftables.TableFamilyIPv4}
		counts := func() (rules, elements int) {
			rules, err := eye.Rules(table)
			if err != nil {
				t.Error(err)
			}
			if elements, err = eye.Elements(table, "names"); err != nil {
				t.Error(err)
			}
			return rules, elements
		}
		if rules, elements := counts(); rules != 0 || elements != 0 {
			t.Errorf("%d rules and %d elements of no table", rules, elements)
		}
		before := generation()
		if again := generation(); again != before {
			t.Errorf("generations %d and %d with nothing between", before, again)
		}
		c, err := Dial(0)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.CloseLasting() }()
		c.AddTable(table)
		set := &nftables.Set{Table: table, Name: "names", KeyType: nftables.TypeInetService}
		if err := c.AddSet(set, []nftables.SetElement{{Key: []byte{0, 80}}, {Key: []byte{0, 81}}}); err != nil {
			t.Error(err)
		}
		for _, name := range []string{"one", "two"} {
			chain := c.AddChain(&nftables.Chain{Table: table, Name: name})
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}}})
		}
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
		if after := generation(); after == before {
			t.Error("the generation stays")
		}
		if rules, elements := counts(); rules != 2 || elements != 2 {
			t.Errorf("%d rules and %d elements, want 2 and 2", rules, elements)
		}
	})
}

func TestNewsCome(t *testing.T) {
	inside(t, func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		told := make(chan struct{}, 16)
		over := make(chan error, 1)
		ns, err := netns.Get()
		if err != nil {
			t.Error(err)
			return
		}
		defer ns.Close()
		go func() {
			runtime.LockOSThread()
			if err := netns.Set(ns); err != nil {
				over <- err
				return
			}
			over <- News(ctx, func() {
				select {
				case told <- struct{}{}:
				default:
				}
			})
		}()
		c, err := Dial(0)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.CloseLasting() }()
		for heard := false; !heard; { // until the listener is there
			c.AddTable(&nftables.Table{Name: "news", Family: nftables.TableFamilyIPv4})
			c.DelTable(&nftables.Table{Name: "news", Family: nftables.TableFamilyIPv4})
			if err := c.Flush(); err != nil {
				t.Error(err)
				break
			}
			select {
			case <-told:
				heard = true
			default:
			}
		}
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
}
