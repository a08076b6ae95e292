package bus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// tunnelPiece is the most that one message of a tunnel carries.
	tunnelPiece = 32 << 10
	// tunnelWindow is how many pieces may be on their way unread in one direction: half a megabyte that a reader that has
	// stopped reading costs each end.
	tunnelWindow = 16
	// tunnelEvery is how often each end says that it is there, tunnelSilence when the other stops believing so.
	tunnelEvery   = 3 * time.Second
	tunnelSilence = 10 * time.Second
	// tunnelHead is the kind of a message and its number: the bus may lose messages when a connection breaks, and a stream with
	// a hole in it must end, not go on.
	tunnelHead = 9
)

// The kinds of messages in a tunnel.
const (
	tunnelData  = 'd'
	tunnelTaken = 't' // its number of pieces have been read
	tunnelEOF   = 'e' // nothing more comes from this end
	tunnelGone  = 'x' // this end is closed, the rest is why
	tunnelAlive = 'a'
)

var errTunnelTorn = errors.New("a piece was lost on its way")

// tunnel joins one end of a local connection with the same on another node. What it does not read, the other end does not send.
type tunnel struct {
	conn    *nats.Conn
	out     string // subject of the other end
	in      chan *nats.Msg
	local   *net.UnixConn
	pieces  chan piece    // from the other end, for local
	credits chan struct{} // one per piece on its way there
	halves  atomic.Int32  // directions that have ended
}

// piece is what has come from the other end.
type piece struct {
	kind byte // tunnelData, tunnelEOF or tunnelGone, in the order in which they were sent
	data []byte
}

// tunnelPair is a connection whose other half a tunnel carries on.
func tunnelPair() (near, far *net.UnixConn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	if near, err = unixConn(fds[0]); err != nil {
		unix.Close(fds[1])
		return nil, nil, err
	}
	if far, err = unixConn(fds[1]); err != nil {
		near.Close()
		return nil, nil, err
	}
	return near, far, nil
}

func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "tunnel")
	defer f.Close() // FileConn has a copy
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	return c.(*net.UnixConn), nil
}

func newTunnel(conn *nats.Conn, out string, local *net.UnixConn) *tunnel {
	return &tunnel{
		conn: conn, out: out, local: local, pieces: make(chan piece, tunnelWindow+2), credits: make(chan struct{}, tunnelWindow),
		// Pieces, as many acknowledgements, and room for what is sent besides; an honest other end never fills it.
		in: make(chan *nats.Msg, 4*tunnelWindow),
	}
}

// run carries both directions until both have ended, one end is closed, or the other is silent.
func (t *tunnel) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() { t.local.Close() })()
	group.Go(func() error { return t.send(ctx) })
	group.Go(t.write)
	group.Go(func() error {
		defer close(t.pieces)
		return t.receive(ctx)
	})
	err := group.Wait()
	t.local.Close()
	text := ""
	if err != nil && !errors.Is(err, net.ErrClosed) {
		text = err.Error()
	}
	_ = t.say(tunnelGone, 0, []byte(text)) // the other end may have gone first
	return err
}

func (t *tunnel) say(kind byte, number uint64, data []byte) error {
	m := make([]byte, tunnelHead, tunnelHead+len(data))
	m[0] = kind
	binary.BigEndian.PutUint64(m[1:], number)
	return t.conn.Publish(t.out, append(m, data...))
}

// send passes on what local's owner writes.
func (t *tunnel) send(ctx context.Context) error {
	buffer := make([]byte, tunnelPiece)
	for number := uint64(1); ; number++ {
		n, err := t.local.Read(buffer)
		if errors.Is(err, io.EOF) {
			return errors.Join(t.say(tunnelEOF, number, nil), t.half())
		}
		if err != nil {
			return err
		}
		select {
		case t.credits <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := t.say(tunnelData, number, buffer[:n]); err != nil {
			return err
		}
	}
}

// write hands what has come to local's owner, and lets the other end send more.
func (t *tunnel) write() error {
	for p := range t.pieces {
		switch p.kind {
		case tunnelEOF:
			if err := errors.Join(t.local.CloseWrite(), t.half()); err != nil {
				return err
			}
		case tunnelGone:
			if len(p.data) > 0 {
				return errors.New(string(p.data))
			}
			return net.ErrClosed
		default:
			if _, err := t.local.Write(p.data); err != nil {
				return err
			}
			if err := t.say(tunnelTaken, 1, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// half says that a direction has ended; with the second the tunnel does.
func (t *tunnel) half() error {
	if t.halves.Add(1) == 2 {
		return net.ErrClosed
	}
	return nil
}

// abandoned says that local's owner has closed it, which reading cannot tell from the end of what it writes.
func (t *tunnel) abandoned() bool {
	raw, err := t.local.SyscallConn()
	if err != nil {
		return true
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd)}}
		_, _ = unix.Poll(poll, 0)
		gone = poll[0].Revents&unix.POLLHUP != 0
	})
	return gone || err != nil
}

// receive sorts what comes from the other end. It never waits for local's owner: what is acknowledged must get through.
func (t *tunnel) receive(ctx context.Context) error {
	alive := time.NewTicker(tunnelEvery)
	defer alive.Stop()
	silent := time.NewTimer(tunnelSilence)
	defer silent.Stop()
	for next, ended := uint64(1), false; ; {
		select {
		case m := <-t.in:
			silent.Reset(tunnelSilence)
			if len(m.Data) < tunnelHead {
				return errTunnelTorn
			}
			kind, number := m.Data[0], binary.BigEndian.Uint64(m.Data[1:])
			if kind == tunnelData || kind == tunnelEOF {
				if number != next || ended {
					return errTunnelTorn
				}
				next++
			}
			if err := t.take(kind, number, m.Data[tunnelHead:]); err != nil || kind == tunnelGone {
				return err
			}
			ended = ended || kind == tunnelEOF
		case <-alive.C:
			if t.abandoned() {
				return net.ErrClosed
			}
			if err := t.say(tunnelAlive, 0, nil); err != nil {
				return err
			}
		case <-silent.C:
			return errors.New("the other end is silent")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *tunnel) take(kind byte, number uint64, data []byte) error {
	switch kind {
	case tunnelData, tunnelEOF, tunnelGone:
		select {
		case t.pieces <- piece{kind, data}:
		default:
			return errors.New("the other end sends more than it may")
		}
	case tunnelTaken:
		for range min(number, tunnelWindow) {
			select {
			case <-t.credits:
			default:
				return errors.New("the other end read more than was sent")
			}
		}
	}
	return nil
}
