package vip

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
)

// throwaway is a namespace that ends with the test.
func throwaway(t testing.TB) netns.NsHandle {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	made := make(chan netns.NsHandle)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ns, err := netns.New()
		if err != nil {
			t.Error(err)
			ns = netns.None()
		}
		made <- ns
	}()
	ns := <-made
	if !ns.IsOpen() {
		t.Fatal("no namespace")
	}
	return ns
}

func many(services, backends int) Table {
	t := Table{}
	for i := range services {
		var target Target
		for j := range backends {
			target.Backends = append(target.Backends, numbered(10<<24|1<<16, i*backends+j))
		}
		t[numbered(10<<24|2<<16, i)] = target
	}
	return t
}

func numbered(base, i int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(base+i))
	return netip.AddrFrom4(b)
}

func chains(t *testing.T, s *Space) (n int) {
	t.Helper()
	list, err := s.conn.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if c.Name[0] == 'v' {
			n++
		}
	}
	return n
}

func TestSpaceFollowsItsTables(t *testing.T) {
	s, err := OpenAt(throwaway(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	table := many(20, 3)
	for name, step := range map[string]struct {
		table Table
		want  int
	}{
		"all": {table, 20}, "none": {Table{}, 0}, "without backends": {many(5, 0), 5}, "again": {table, 20}, "fewer": {many(10, 2), 10},
	} {
		if err := s.Apply(step.table); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := chains(t, s); got != step.want {
			t.Errorf("%s: %d chains, want %d", name, got, step.want)
		}
		s.have = map[netip.Addr]Target(nil) // as a new process
		if err := s.Apply(step.table); err != nil {
			t.Fatalf("%s by a new process: %v", name, err)
		}
		if got := chains(t, s); got != step.want {
			t.Errorf("%s by a new process: %d chains, want %d", name, got, step.want)
		}
	}
	if err := s.Clear(); err != nil {
		t.Fatal(err)
	}
	if got := chains(t, s); got != 0 {
		t.Errorf("%d chains are left", got)
	}
}

// BenchmarkOneOf500 is one task's change among 500 services of 10 in one namespace.
func BenchmarkOneOf500(b *testing.B) {
	s, err := OpenAt(throwaway(b))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	table := many(500, 10)
	if err := s.Apply(table); err != nil {
		b.Fatal(err)
	}
	a := numbered(10<<24|2<<16, 7)
	full := table[a]
	for i := 0; b.Loop(); i++ {
		table[a] = Target{Backends: full.Backends[:9+i%2]}
		if err := s.Apply(table); err != nil {
			b.Fatal(err)
		}
	}
}

// Namespaces are programmed at the same time; nothing of theirs is shared.
func TestSpacesDoNotMeet(t *testing.T) {
	var group errgroup.Group
	for range 4 {
		s, err := OpenAt(throwaway(t))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		group.Go(func() error {
			for i := range 10 {
				if err := s.Apply(many(20, 1+i%3)); err != nil {
					return err
				}
				if whole, err := s.Whole(); err != nil || !whole {
					return fmt.Errorf("not whole: %w", err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}
