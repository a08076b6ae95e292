package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/client"
	"github.com/spf13/cobra"
)

const (
	// readyPoll is how often a daemon that was just started is asked whether it answers.
	readyPoll = 50 * time.Millisecond
	// logTail is how much of a daemon's log an error shows.
	logTail = 2 << 10
)

// starter is how init and join start a daemon where none runs.
type starter struct {
	dataDir       string
	listenAddr    string
	advertiseAddr string
	dataPathAddr  string
	dockerHost    string
	supervisor    string
}

func (s *starter) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.dataDir, "data-dir", defaultDataDir, "`DIRECTORY` for a daemon that has to be started")
	cmd.Flags().StringVar(&s.listenAddr, "listen-addr", "0.0.0.0:2377", "where other nodes reach this one: `ADDRESS[:PORT]`")
	cmd.Flags().StringVar(&s.dataPathAddr, "data-path-addr", "", "where other nodes send the traffic of containers: `ADDRESS` or an interface (default that of --advertise-addr)")
	cmd.Flags().StringVar(&s.advertiseAddr, "advertise-addr", "", "what other nodes are told: `ADDRESS[:PORT]` or an interface")
	cmd.Flags().StringVar(&s.dockerHost, "docker-host", defaultDockerHost, "the local engine, for a daemon that has to be started")
	cmd.Flags().StringVar(&s.supervisor, "supervisor", "auto", "what runs the daemon: systemd, process, or auto")
}

// running is a client to the daemon, which is started if nothing answers.
func (a *app) running(ctx context.Context, s starter) (*client.Client, error) {
	cli, err := a.connect()
	if err != nil {
		return nil, err
	}
	if _, err := cli.Ping(ctx); err == nil || !client.IsErrConnectionFailed(err) {
		return cli, err
	}
	socket, ok := strings.CutPrefix(a.host(), "unix://")
	if !ok {
		return nil, fmt.Errorf("nothing answers on %s, and only the daemon of this machine can be started from here", a.host())
	}
	if _, err := os.Stat(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := s.start(ctx, a.err, socket); err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	if err := s.ready(ctx, cli); err != nil {
		return nil, err
	}
	return cli, nil
}

func (s starter) start(ctx context.Context, say io.Writer, socket string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(s.dataDir)
	if err != nil {
		return err
	}
	// One that an earlier daemon left would be taken for this one's.
	if err := os.Remove(pidFile(dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	args := []string{exe, "daemon", "--data-dir", dir, "--socket", socket, "--docker-host", s.dockerHost}
	switch s.supervisor {
	case "auto", "systemd":
		if systemd() || s.supervisor == "systemd" {
			fmt.Fprintln(say, "starting the daemon as systemd unit "+unitName)
			return startUnit(ctx, args)
		}
	case "process":
	default:
		return usagef("--supervisor %q: want auto, systemd or process", s.supervisor)
	}
	fmt.Fprintf(say, "starting the daemon in the background, its log is %s\n", s.log())
	return s.startProcess(args, dir)
}

func (s starter) log() string { return filepath.Join(s.dataDir, "daemon.log") }

// pidFile says which process init started, so that leave can stop it.
func pidFile(dataDir string) string { return filepath.Join(dataDir, "daemon.pid") }

func (s starter) startProcess(args []string, dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := os.WriteFile(pidFile(dir), fmt.Appendln(nil, cmd.Process.Pid), 0o644); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// ready waits until the daemon answers.
func (s starter) ready(ctx context.Context, cli *client.Client) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		_, err := cli.Ping(ctx)
		if err == nil {
			return nil
		}
		// What answers, if only with an error, is up: its words are better than a timeout's.
		if !client.IsErrConnectionFailed(err) && ctx.Err() == nil {
			return err
		}
		if pid := startedPID(s.dataDir); pid > 0 && exited(pid) {
			return fmt.Errorf("the daemon ended at once; the end of %s:\n%s", s.log(), tail(s.log()))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the daemon did not answer in time; the end of its log:\n%s", tail(s.log()))
		}
	}
}

func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-logTail):]))
}
