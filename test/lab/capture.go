package lab

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Capture is every frame that has passed a host's cable, in both directions, since it was started.
type Capture struct {
	fd   int
	done chan struct{}

	mu     sync.Mutex // guards what follows
	frames [][]byte
}

// Capture begins to listen at the host's eth0, as tcpdump would.
func (h *Host) Capture() (*Capture, error) {
	ns, err := netns.GetFromPid(h.init.Process.Pid)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	type opened struct {
		fd  int
		err error
	}
	ready := make(chan opened, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, as in newSwitch
		if err := netns.Set(ns); err != nil {
			ready <- opened{err: err}
			return
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(swap(unix.ETH_P_ALL)))
		if err == nil {
			err = listen(fd)
		}
		ready <- opened{fd, err}
	}()
	o := <-ready
	if o.err != nil {
		return nil, fmt.Errorf("capture at %s: %w", h.Name, o.err)
	}
	c := &Capture{fd: o.fd, done: make(chan struct{})}
	go c.read()
	return c, nil
}

func swap(n uint16) uint16 { return n<<8 | n>>8 }

// listen binds to eth0 alone, and has reads return now and then so that the end is noticed.
func listen(fd int) error {
	var index uint32
	req, err := unix.NewIfreq("eth0")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req)
		index = req.Uint32()
	}
	if err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
		return err
	}
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swap(unix.ETH_P_ALL), Ifindex: int(index)})
}

func (c *Capture) read() {
	buf := make([]byte, 1<<17)
	for {
		n, _, err := unix.Recvfrom(c.fd, buf, 0)
		select {
		case <-c.done:
			unix.Close(c.fd)
			return
		default:
		}
		if err == nil {
			c.mu.Lock()
			c.frames = append(c.frames, append([]byte(nil), buf[:n]...))
			c.mu.Unlock()
		}
	}
}

// Stop ends it and returns the frames.
func (c *Capture) Stop() [][]byte {
	time.Sleep(100 * time.Millisecond) // what has been sent is on its way through the kernel
	close(c.done)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames
}
