package crypt

import (
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/tun"
)

// batch is how many packets are passed on at a time, as wireguard-go's own devices do.
const batch = 128

// mux is the ports of all encrypted networks as the one device that wireguard-go knows. What leaves a port must come from its
// network and go to it, and what arrives goes to the port of its network: nothing crosses over.
type mux struct {
	frames chan frame
	events chan tun.Event
	ended  chan struct{}
	once   sync.Once

	ports atomic.Pointer[[]*port]
	// rest is what Read has not cut up yet; it is Read's alone.
	rest *frame
}

type port struct {
	*tap
	segment atomic.Pointer[Segment]
	done    chan struct{}
}

// frame is one that a port has read.
type frame struct {
	port *port
	data []byte
	raw  []byte
}

func newMux() *mux {
	m := &mux{frames: make(chan frame, 1), events: make(chan tun.Event, 1), ended: make(chan struct{})}
	m.ports.Store(&[]*port{})
	m.events <- tun.EventUp
	return m
}

// set makes the ports be those of the segments. Only one goroutine calls it.
func (m *mux) set(segments []Segment) error {
	var errs []error
	var now []*port
	old := *m.ports.Load()
	for _, s := range segments {
		i := slices.IndexFunc(old, func(p *port) bool { return p.segment.Load().Device == s.Device })
		if i >= 0 && !old[i].closed() {
			old[i].segment.Store(&s)
			now = append(now, old[i])
			continue
		}
		t, err := openTAP(s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p := &port{tap: t, done: make(chan struct{})}
		p.segment.Store(&s)
		now = append(now, p)
		go m.read(p)
	}
	m.ports.Store(&now)
	for _, p := range old {
		if !slices.Contains(now, p) {
			errs = append(errs, p.file.Close())
			<-p.done
		}
	}
	return errors.Join(errs...)
}

// closed says that somebody took the device away.
func (p *port) closed() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// read takes frames from a port until it is closed.
func (m *mux) read(p *port) {
	defer close(p.done)
	for raw := range p.raw {
		n, err := p.file.Read(raw)
		if err != nil {
			return // closed, or the device was deleted: then it is made anew
		}
		select {
		case m.frames <- frame{p, raw[:n], raw}:
		case <-m.ended:
			return
		}
	}
}

// Read implements tun.Device.
func (m *mux) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	n := 0
	for {
		f := m.rest
		m.rest = nil
		switch {
		case f != nil:
		case n == 0:
			select {
			case got := <-m.frames:
				f = &got
			case <-m.ended:
				return 0, os.ErrClosed
			}
		default:
			select {
			case got := <-m.frames:
				f = &got
			default:
				return n, nil
			}
		}
		s := f.port.segment.Load()
		if !s.passes(f.data) {
			f.port.raw <- f.raw
			continue
		}
		got, err := split(f.data, bufs[n:], sizes[n:], offset)
		if errors.Is(err, errRoom) && n > 0 {
			m.rest = f // the next batch has room
			return n, nil
		}
		if err == nil {
			n += got
		}
		f.port.raw <- f.raw
		if n == len(bufs) {
			return n, nil
		}
	}
}

// passes says that a frame is an IP packet from the network to the network. All others end here: what the bridge floods, and
// what a container makes up to get elsewhere.
func (s *Segment) passes(f []byte) bool {
	if len(f) < virtioLen+ethLen {
		return false
	}
	src, dst, ok := ends(f[virtioLen+ethLen:])
	return ok && s.contains(src) && s.contains(dst)
}

// Write implements tun.Device.
func (m *mux) Write(bufs [][]byte, offset int) (int, error) {
	ports := *m.ports.Load()
	var errs []error
	var run [][]byte
	var at *port
	var seg *Segment
	flush := func() {
		if at != nil && len(run) > 0 {
			if err := at.write(seg, run); err != nil && !errors.Is(err, os.ErrClosed) {
				errs = append(errs, err)
			}
		}
		run = run[:0]
	}
	for _, b := range bufs {
		p := b[offset:]
		src, dst, ok := ends(p)
		if !ok {
			continue
		}
		if at == nil || !seg.contains(dst) {
			flush()
			at, seg = nil, nil
			for _, x := range ports {
				if s := x.segment.Load(); s.contains(dst) {
					at, seg = x, s
				}
			}
		}
		if at != nil && seg.contains(src) {
			run = append(run, p)
		}
	}
	flush()
	return len(bufs), errors.Join(errs...)
}

// File implements tun.Device; there is not one alone.
func (m *mux) File() *os.File { return nil }

// MTU implements tun.Device: packets have the size that their networks let them.
func (m *mux) MTU() (int, error) { return maxPacket, nil }

// Name implements tun.Device.
func (m *mux) Name() (string, error) { return "orch", nil }

// Events implements tun.Device.
func (m *mux) Events() <-chan tun.Event { return m.events }

// BatchSize implements tun.Device.
func (m *mux) BatchSize() int { return batch }

// Close implements tun.Device.
func (m *mux) Close() error {
	m.once.Do(func() {
		close(m.ended)
		close(m.events)
	})
	return nil
}
