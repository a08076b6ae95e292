package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/client"
)

// Exit codes, documented in the root command's help.
const (
	exitDone       = 0
	exitFailed     = 1
	exitUsage      = 2
	exitNotHealthy = 3
	// exitInterrupted is what shells expect after Ctrl-C.
	exitInterrupted = 130
)

// usageError is a command line that cannot be meant.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// codeError ends the command with a code; err may be nil when everything is said already.
type codeError struct {
	code int
	err  error
}

func (e codeError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}
func (e codeError) Unwrap() error { return e.err }

func exitCode(err error) int {
	if c := new(codeError); errors.As(err, c) {
		return c.code
	}
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	if errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	return exitFailed
}

// remote is the wrapping of Docker's client and of Swarm's managers around a text.
var remote = regexp.MustCompile(`Error response from daemon: |rpc error: code = \w+ desc = `)

// hints maps what servers answer to what the user can do about it.
var hints = []struct{ text, hint string }{
	{`Use "docker swarm init"`, "this machine is in no cluster: `orch init` makes one, `orch join --token … ADDRESS` joins one"},
	{"Worker nodes can't be used", "this machine is a worker: run the command on a manager (`orch info` lists them)"},
	{"needs to be unlocked", "`orch unlock` takes the key that was shown when autolock was turned on"},
	{"does not have a leader", "more than half of the managers must be up, and find a leader by themselves then; if they are lost for good: `orch init --force-new-cluster` on one that is left"},
	{"Cannot connect to the Docker daemon", "orch's daemon answers, but its dockerd does not: start it (`systemctl start docker`), or see /var/log/docker.log"},
	{"ask manager ", "is that a manager's address, and are its ports 2377 to 2379/tcp open to this machine?"},
	{"already part of a swarm", "`orch info` shows which; `orch leave --force` leaves it"},
}

// explain is the error's text for people: what happened, then what to do.
func (a *app) explain(ctx context.Context, err error) string {
	text := remote.ReplaceAllString(err.Error(), "")
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil && !errors.As(err, new(codeError)):
		return "interrupted"
	case client.IsErrConnectionFailed(err):
		return a.unreachable(err)
	case errors.Is(err, context.DeadlineExceeded):
		return text + "\nno answer from " + a.host() + " in time: is the daemon overloaded, or its dockerd hung?"
	}
	for _, h := range hints {
		if strings.Contains(text, h.text) {
			return text + "\n" + h.hint
		}
	}
	return text
}

// unreachable finds out why nothing answers, since Docker's client only says that it does not.
func (a *app) unreachable(err error) string {
	host := a.host()
	path, ok := strings.CutPrefix(host, "unix://")
	if !ok {
		return err.Error()
	}
	conn, dialErr := net.DialTimeout("unix", path, time.Second)
	if dialErr == nil {
		conn.Close()
		return err.Error()
	}
	start := "orch init"
	if host != defaultHost {
		start = "orch -H " + host + " init"
	}
	switch {
	case errors.Is(dialErr, fs.ErrNotExist):
		return fmt.Sprintf("no daemon on %s: there is no such socket\nstart one with `%s`, or name another with -H or ORCH_HOST", path, start)
	case errors.Is(dialErr, fs.ErrPermission):
		return fmt.Sprintf("permission denied on %s\nrun the command as root, or join the group that owns the socket: sudo usermod -aG docker $USER (and log in again)", path)
	case errors.Is(dialErr, syscall.ECONNREFUSED):
		return fmt.Sprintf("no daemon on %s: the socket is there, but nothing listens\nits daemon has stopped: see `journalctl -u orch` or daemon.log in its data directory, and start it with `%s`", path, start)
	}
	return dialErr.Error()
}
