package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/client"
)

// bootLimit bounds the start of a dockerd.
const bootLimit = 60 * time.Second

// Host is a machine of the lab.
type Host struct {
	Name string // n1, n2, …
	Addr string // 10.<lab>.0.1, …
	Dir  string // for files of whoever uses the host; gone with the lab

	lab  *Lab
	n    int
	init *exec.Cmd // dockerd, whose namespaces are the host's
}

// boot script: the namespaces are new already. /run is the host's own, so that dockerd's, orch's and iptables' files are too.
const bootScript = `set -e
echo $$ >"$PROCS"
mount --make-rprivate /
mount --bind "$DIR/run" /run
mkdir -p /run/lock
echo "$NAME" >/proc/sys/kernel/hostname
if [ -f /etc/resolv.conf ]; then mount --bind "$DIR/resolv.conf" /etc/resolv.conf; fi
read go
exec dockerd "$@"
`

func newHost(l *Lab, n int) (*Host, error) {
	h := &Host{Name: "n" + strconv.Itoa(n), Addr: fmt.Sprintf("10.%d.0.%d", l.id, n), lab: l, n: n}
	h.Dir = filepath.Join(l.dir, h.Name)
	for _, dir := range []string{"run", "docker"} {
		if err := os.MkdirAll(filepath.Join(h.Dir, dir), 0o755); err != nil {
			return nil, err
		}
	}
	// No name server: a pull must fail at once, not after a timeout.
	if err := os.WriteFile(filepath.Join(h.Dir, "resolv.conf"), []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
		return nil, err
	}
	return h, os.WriteFile(filepath.Join(h.Dir, "daemon.json"), []byte("{}\n"), 0o644)
}

func (h *Host) group() string { return groupName(h.lab.id) + "/" + h.Name }

// DockerHost is the host's dockerd in DOCKER_HOST's form.
func (h *Host) DockerHost() string { return "unix://" + filepath.Join(h.Dir, "docker.sock") }

// Docker is a client of the host's dockerd, or of another socket below its directory.
func (h *Host) Docker() (*client.Client, error) {
	return client.NewClientWithOpts(client.WithHost(h.DockerHost()), client.WithAPIVersionNegotiation())
}

// boot starts dockerd in new namespaces and connects them to the lab's bridge.
func (h *Host) boot() error {
	procs, err := makeGroup(h.group() + "/daemons")
	if err != nil {
		return fmt.Errorf("cgroup of host %s: %w", h.Name, err)
	}
	log, err := os.OpenFile(filepath.Join(h.Dir, "dockerd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append([]string{"-c", bootScript, "sh", "--config-file", filepath.Join(h.Dir, "daemon.json"), "--host", h.DockerHost(), "--host", "unix:///run/docker.sock",
		"--data-root", filepath.Join(h.Dir, "docker"), "--exec-root", "/run/docker", "--pidfile", "/run/docker.pid",
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/" + h.group() + "/containers"}, h.lab.dockerd...)
	cmd := exec.Command("sh", args...)
	cmd.Env = append(os.Environ(), "PROCS="+procs, "DIR="+h.Dir, "NAME="+h.Name)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS | syscall.CLONE_NEWNET, Setsid: true}
	start, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start host %s: %w", h.Name, err)
	}
	h.init = cmd
	go func() { _ = cmd.Wait() }() // how it ends shows in its log
	if err := h.plug(); err != nil {
		return fmt.Errorf("connect host %s: %w", h.Name, err)
	}
	// What a killed dockerd left would keep the next from starting.
	if err := errors.Join(os.RemoveAll(filepath.Join(h.Dir, "run", "docker.pid")), os.RemoveAll(filepath.Join(h.Dir, "run", "docker"))); err != nil {
		return err
	}
	_, err = start.Write([]byte("go\n"))
	return err
}

func (h *Host) ready(ctx context.Context) error {
	cli, err := h.Docker()
	if err != nil {
		return err
	}
	defer cli.Close()
	err = until(ctx, bootLimit, "dockerd of host "+h.Name, func() bool { _, err := cli.Ping(ctx); return err == nil })
	if err != nil {
		b, _ := os.ReadFile(filepath.Join(h.Dir, "dockerd.log"))
		return fmt.Errorf("%w; the end of its log:\n%s", err, b[max(0, len(b)-2000):])
	}
	return nil
}

// Command is a command that runs on the host, as if started there; it ends with the host.
func (h *Host) Command(ctx context.Context, args ...string) *exec.Cmd {
	procs := filepath.Join(groupRoot(), h.group(), "daemons", "cgroup.procs")
	script := `echo $$ >"$0"; t=$1; shift; exec nsenter --target "$t" --net --mount --uts -- "$@"`
	return exec.CommandContext(ctx, "sh", append([]string{"-c", script, procs, strconv.Itoa(h.init.Process.Pid)}, args...)...)
}

// Run runs a command on the host to its end and returns what it printed.
func (h *Host) Run(ctx context.Context, args ...string) (string, error) {
	out, err := h.Command(ctx, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s on %s: %w: %s", strings.Join(args, " "), h.Name, err, out)
	}
	return string(out), nil
}

// Kill ends everything on the host at once, its containers too: a machine lost.
func (h *Host) Kill() error {
	return errors.Join(killGroup(h.group()), h.unplug())
}

// Start brings a killed host back with its disk.
func (h *Host) Start(ctx context.Context) error {
	if err := h.boot(); err != nil {
		return err
	}
	return h.ready(ctx)
}
