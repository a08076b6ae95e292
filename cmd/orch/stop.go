package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	unitName = "orch.service"
	unitPath = "/etc/systemd/system/" + unitName
	// unitMark is in units that init wrote: leave removes no other.
	unitMark = "# Written by orch init."
)

// systemd says whether systemd runs this machine (sd_booted(3)).
func systemd() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// unit is the text of the systemd unit.
func unit(args []string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = strconv.Quote(strings.NewReplacer("%", "%%", "$", "$$").Replace(arg))
	}
	return unitMark + `
[Unit]
Description=orch: compose applications on one machine or many
Wants=network-online.target
After=network-online.target docker.service

[Service]
ExecStart=` + strings.Join(quoted, " ") + `
Restart=always
RestartSec=1
# Containers belong to dockerd and outlive the daemon.
KillMode=process
LimitNOFILE=1048576
TasksMax=infinity

[Install]
WantedBy=multi-user.target
`
}

func startUnit(ctx context.Context, args []string) error {
	if b, err := os.ReadFile(unitPath); err == nil && !strings.HasPrefix(string(b), unitMark) {
		return systemctl(ctx, "start", unitName) // a package's or an administrator's own
	}
	if err := os.WriteFile(unitPath, []byte(unit(args)), 0o644); err != nil {
		return err
	}
	if err := systemctl(ctx, "daemon-reload"); err != nil {
		return err
	}
	return systemctl(ctx, "enable", "--now", unitName)
}

func systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// stopStarted stops the daemon that init or join started, if one of them did.
func stopStarted(ctx context.Context, dataDir string) (bool, error) {
	if pid := startedPID(dataDir); pid > 0 {
		if isDaemon(pid) {
			if err := stopProcess(ctx, pid); err != nil {
				return false, err
			}
		}
		return true, os.Remove(pidFile(dataDir))
	}
	b, err := os.ReadFile(unitPath)
	if err != nil || !strings.HasPrefix(string(b), unitMark) || !slices.Contains(strings.Fields(string(b)), strconv.Quote(dataDir)) {
		return false, nil
	}
	if err := systemctl(ctx, "disable", "--now", unitName); err != nil {
		return false, err
	}
	if err := os.Remove(unitPath); err != nil {
		return false, err
	}
	return true, systemctl(ctx, "daemon-reload")
}

// stopProcess asks a daemon to end and waits until it has.
func stopProcess(ctx context.Context, pid int) error {
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop the daemon (process %d): %w", pid, err)
	}
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for isDaemon(pid) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the daemon (process %d) does not end: %w", pid, ctx.Err())
		}
	}
	return nil
}

// startedPID is the process that init started in that data directory, or 0.
func startedPID(dataDir string) int {
	b, err := os.ReadFile(pidFile(dataDir))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// exited says that a process is gone or a zombie. Its command line would not do: a process has none, either, for a moment
// after it was started.
func exited(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name before may hold anything but this is its end
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

// isDaemon says whether a process is an orch daemon: its number may belong to another by now. A zombie has no command line.
func isDaemon(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	args := strings.Split(string(b), "\x00")
	return len(args) > 1 && args[1] == "daemon"
}
