package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// pseudoTerminal is a terminal of a size: the end that is looked at, and the one that a program is given.
func pseudoTerminal(columns, lines uint16) (pty, tty *os.File, err error) {
	pty, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open a terminal: %w", err)
	}
	number, tty, err := unlocked(pty)
	if err != nil {
		pty.Close()
		return nil, nil, fmt.Errorf("open terminal %d: %w", number, err)
	}
	if err := control(tty, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: lines})
	}); err != nil {
		pty.Close()
		tty.Close()
		return nil, nil, fmt.Errorf("size a terminal: %w", err)
	}
	return pty, tty, nil
}

func unlocked(pty *os.File) (number int, tty *os.File, err error) {
	err = control(pty, func(fd int) (err error) {
		if number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN); err != nil {
			return err
		}
		return unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	})
	if err != nil {
		return number, nil, err
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	return number, tty, err
}

// control uses a file's descriptor without taking it out of the runtime's poller.
func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var did error
	if err := raw.Control(func(fd uintptr) { did = do(int(fd)) }); err != nil {
		return err
	}
	return did
}
