package ingress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"sync"
	"sync/atomic"

	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sys/unix"
)

// Ingress holds the node's published ports.
type Ingress struct {
	// Led says that the kernel leads what comes for the ports that are held here (package host).
	Led bool

	mu      sync.Mutex // guards what follows
	open    map[Port]*listener
	failed  map[Port]string
	changed chan struct{}
}

type listener struct {
	io.Closer
	target *atomic.Pointer[Target]
	// update says that the target has changed.
	update func()
}

// New is an ingress without ports.
func New() *Ingress {
	return &Ingress{open: map[Port]*listener{}, failed: map[Port]string{}, changed: make(chan struct{}, 1)}
}

// Apply makes the node listen on exactly the given ports. Ports that could not be had are tried again by the next call. It returns
// those that are held.
func (i *Ingress) Apply(ctx context.Context, want map[Port]Target) map[Port]Target {
	i.mu.Lock()
	defer i.mu.Unlock()
	for p, l := range i.open {
		if _, ok := want[p]; !ok {
			l.Close()
			delete(i.open, p)
		}
	}
	failed, held := map[Port]string{}, map[Port]Target{}
	for p, t := range want {
		l := i.open[p]
		if l == nil {
			var err error
			if l, err = i.listen(ctx, p); err != nil {
				failed[p] = explain(p, err)
				continue
			}
			i.open[p] = l
		}
		l.target.Store(&t)
		l.update()
		held[p] = t
	}
	if !maps.Equal(failed, i.failed) {
		i.failed = failed
		select {
		case i.changed <- struct{}{}:
		default:
		}
	}
	return held
}

func (i *Ingress) listen(ctx context.Context, p Port) (*listener, error) {
	target := new(atomic.Pointer[Target])
	target.Store(&Target{})
	address := fmt.Sprintf(":%d", p.Number)
	switch p.Protocol {
	case swarm.PortConfigProtocolTCP:
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		s := &stream{listener: l, target: target}
		go s.serve()
		return &listener{Closer: l, target: target, update: func() {}}, nil
	case swarm.PortConfigProtocolUDP:
		r, err := newRelay(ctx, address, target)
		if err != nil {
			return nil, err
		}
		go r.serve()
		return &listener{Closer: r, target: target, update: r.update}, nil
	case swarm.PortConfigProtocolSCTP:
		if !i.Led {
			return nil, errors.New("SCTP needs nftables on the node: use mode host")
		}
		fd, err := holdSCTP(p.Number)
		if err != nil {
			return nil, err
		}
		return &listener{Closer: fd, target: target, update: func() {}}, nil
	default:
		return nil, fmt.Errorf("%s cannot be published", p.Protocol)
	}
}

func explain(p Port, err error) string {
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Sprintf("port %s is already in use on this node by another program", p)
	}
	return fmt.Sprintf("port %s cannot be opened: %v", p, err)
}

// Errors are the ports that this node could not open, in words, by "number/protocol".
func (i *Ingress) Errors() map[string]string {
	i.mu.Lock()
	defer i.mu.Unlock()
	out := make(map[string]string, len(i.failed))
	for p, why := range i.failed {
		out[p.String()] = why
	}
	return out
}

// Changed has a value when Errors has changed.
func (i *Ingress) Changed() <-chan struct{} { return i.changed }

// Close lets go of all ports.
func (i *Ingress) Close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for p, l := range i.open {
		l.Close()
		delete(i.open, p)
	}
}
