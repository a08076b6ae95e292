package lab

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
)

func TestHostsReachEachOtherAreLostAndComeBack(t *testing.T) {
	l := New(t, Config{Hosts: 2})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := l.Load(ctx); err != nil {
		t.Fatal(err)
	}
	first, second := l.Hosts[0], l.Hosts[1]
	cli, err := first.Docker()
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	c, err := cli.ContainerCreate(ctx, &container.Config{Image: Image, Cmd: []string{"serve", ":8080"}}, &container.HostConfig{NetworkMode: "host"}, nil, nil, "web")
	if err != nil {
		t.Fatal(err)
	}
	if err := cli.ContainerStart(ctx, c.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	ask := func() (string, error) {
		return second.Run(ctx, "docker", "run", "--rm", "--network=host", Image, "get", "http://"+first.Addr+":8080")
	}
	if err := until(ctx, 10*time.Second, "an answer", func() bool { out, err := ask(); return err == nil && strings.TrimSpace(out) == "n1" }); err != nil {
		out, askErr := ask()
		t.Fatal(err, out, askErr)
	}
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	if pids := groupProcesses(first.group()); len(pids) > 0 {
		t.Errorf("processes %v outlived their host", pids)
	}
	if _, err := ask(); err == nil {
		t.Error("a lost host answers")
	}
	if err := first.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := cli.ContainerInspect(ctx, c.ID); err != nil {
		t.Errorf("the host came back without its disk: %v", err)
	}
}

func TestALabOfADeadProcessIsSwept(t *testing.T) {
	l := New(t, Config{Hosts: 1})
	if err := syscall.Flock(int(l.lock.Fd()), syscall.LOCK_UN); err != nil { // as the kernel does when a process dies
		t.Fatal(err)
	}
	if err := sweep(); err != nil {
		t.Fatal(err)
	}
	if pids := groupProcesses(groupName(l.id)); len(pids) > 0 {
		t.Errorf("processes %v are left", pids)
	}
	if _, err := os.Stat(l.dir); err == nil {
		t.Error("the directory is left")
	}
}
