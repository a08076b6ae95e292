package ingress

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// held is a socket that only holds a port; what comes for it the kernel leads to tasks.
type held int

// Close lets go of the port.
func (h held) Close() error { return unix.Close(int(h)) }

// holdSCTP takes a port of SCTP, for which there is no listener: associations cannot be spliced, and have several addresses.
func holdSCTP(number uint16) (held, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) {
		return 0, fmt.Errorf("this node's kernel has no SCTP: %w", err)
	}
	if err != nil {
		return 0, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(number)}); err != nil {
		_ = unix.Close(fd)
		return 0, err
	}
	return held(fd), nil
}
