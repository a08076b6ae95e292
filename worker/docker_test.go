package worker

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"golang.org/x/sync/errgroup"

	"orch/internal/bus"
	"orch/internal/extra"
	"orch/worker/engine/docker"
	"orch/worker/engine/enginetest"
)

const testImage = "orch-workertest:latest"

// onDocker is an agent on a real dockerd.
type onDocker struct {
	testing.TB
	client   *client.Client
	managers *managers
	node     string
	dir      string
	agent    *Agent
	stop     func()
}

func newOnDocker(t testing.TB, tasks ...bus.Task) *onDocker {
	t.Helper()
	w := &onDocker{TB: t, client: enginetest.Docker(t), node: fmt.Sprintf("orch-workertest-%d", time.Now().UnixNano()), dir: t.TempDir()}
	enginetest.BuildImage(t, w.client, testImage)
	w.managers = newManagers(w.own(tasks)...)
	w.run()
	t.Cleanup(func() {
		w.stop()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := w.agent.Leave(ctx); err != nil {
			t.Errorf("leave: %v", err)
		}
		if _, err := w.client.ImageRemove(ctx, testImage, image.RemoveOptions{Force: true}); err != nil {
			t.Errorf("remove the test image: %v", err)
		}
	})
	return w
}

// own makes tasks this test's.
func (w *onDocker) own(tasks []bus.Task) []bus.Task {
	for i := range tasks {
		t := &tasks[i]
		t.NodeID, t.Name, t.Spec.ContainerSpec.Image = w.node, w.node+"."+t.ID, testImage
	}
	return tasks
}

func (w *onDocker) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	w.agent, err = New(ctx, Config{
		NodeID: w.node, ClusterID: "c", Dir: w.dir, RunDir: w.dir + "/run", Engine: docker.New(w.client),
		Network: &silent{attached: map[string]bool{}}, Managers: w.managers, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		w.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- w.agent.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("run: %v", err)
		}
	}
}

// await waits until the last word on every task begins so.
func (w *onDocker) await(want string, ids ...string) {
	w.Helper()
	deadline := time.After(time.Minute)
	for {
		missing := ""
		for _, id := range ids {
			if said := w.managers.said(id); !strings.HasPrefix(said, want) {
				missing = id + ": " + said
			}
		}
		if missing == "" {
			return
		}
		select {
		case <-w.managers.news:
		case <-deadline:
			w.Fatalf("not %q: %s", want, missing)
		}
	}
}

func TestOnDocker(t *testing.T) {
	secret := taskOf("secret", "cat", "/run/secrets/key")
	secret.Spec.ContainerSpec.User = "1000"
	secret.Spec.ContainerSpec.Secrets = []*swarm.SecretReference{{
		SecretID: "s1", SecretName: "key", File: &swarm.SecretReferenceFileTarget{Name: "key", UID: "1000", GID: "1000", Mode: 0o400},
	}}
	hooked := taskOf("hooked", "sleep")
	hooked.Spec.ContainerSpec.Labels = map[string]string{}
	if err := extra.ToLabels(hooked.Spec.ContainerSpec.Labels, extra.Extra{PostStart: []extra.Hook{{Command: []string{"/t", "exit", "5"}}}}); err != nil {
		t.Fatal(err)
	}
	w := newOnDocker(t, taskOf("run", "sleep"), taskOf("three", "exit", "3"), secret, hooked, healthcheck(taskOf("healthy", "sleep"), "ok"))
	w.managers.push(bus.Assignments{Secrets: []bus.Secret{{ID: "s1", Name: "key", Data: []byte("hush\n")}}}, false)

	t.Run("tasks run and end", func(t *testing.T) {
		w.await("running started", "run", "healthy")
		w.await("failed started: task: non-zero exit (3)", "three")
		w.await("failed starting: post_start: [\"/t\" \"exit\" \"5\"]: exit 5", "hooked")
	})
	t.Run("a secret is a file of the asked owner", func(t *testing.T) {
		w.await("complete finished", "secret")
		var log bytes.Buffer
		err := w.agent.Logs(t.Context(), bus.LogRequest{TaskID: "secret", Stdout: true, Stderr: true, Details: true}, &log)
		if want := fmt.Sprintf("com.docker.swarm.node.id=%s,com.docker.swarm.service.id=s,com.docker.swarm.task.id=secret hush\n", w.node); err != nil || !strings.HasSuffix(log.String(), want) {
			t.Errorf("log %q, %v, want …%q", log.String(), err, want)
		}
	})
	t.Run("a killed process is told at once", func(t *testing.T) {
		if err := w.client.ContainerKill(t.Context(), w.node+".run", "KILL"); err != nil {
			t.Fatal(err)
		}
		w.await("failed started: task: non-zero exit (137)", "run")
	})
	t.Run("a restarted worker adopts", func(t *testing.T) {
		before, err := w.client.ContainerInspect(t.Context(), w.node+".healthy")
		if err != nil {
			t.Fatal(err)
		}
		w.stop()
		w.run()
		w.managers.push(bus.Assignments{Tasks: w.own([]bus.Task{taskOf("next", "sleep")})}, false)
		w.await("running started", "next", "healthy")
		after, err := w.client.ContainerInspect(t.Context(), w.node+".healthy")
		if err != nil || after.ID != before.ID || after.State.StartedAt != before.State.StartedAt {
			t.Errorf("it was %s since %s, is %s since %s (%v)", before.ID, before.State.StartedAt, after.ID, after.State.StartedAt, err)
		}
	})
	t.Run("what is not assigned goes", func(t *testing.T) {
		w.managers.push(bus.Assignments{Removed: []bus.Resource{{Kind: bus.KindTask, ID: "next"}}}, false)
		w.await("gone", "next")
		if _, err := w.client.ContainerInspect(t.Context(), w.node+".next"); !errdefs.IsNotFound(err) {
			t.Errorf("its container: %v", err)
		}
	})
}

// BenchmarkStart compares the agent with the same containers made straight through the API, four at a time.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{1, 20, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newOnDocker(b)
			var agent, bare time.Duration
			round := 0
			for b.Loop() {
				round++
				bare += w.bare(n)
				agent += w.assign(round, n)
			}
			b.ReportMetric(agent.Seconds()/float64(b.N), "agent-s/op")
			b.ReportMetric(bare.Seconds()/float64(b.N), "bare-s/op")
			b.ReportMetric(agent.Seconds()/bare.Seconds(), "ratio")
		})
	}
}

// assign is the time from assignment to all running.
func (w *onDocker) assign(round, n int) time.Duration {
	var tasks []bus.Task
	var ids []string
	var gone []bus.Resource
	for i := range n {
		t := taskOf(fmt.Sprintf("r%d-%d", round, i), "sleep")
		tasks, ids, gone = append(tasks, t), append(ids, t.ID), append(gone, bus.Resource{Kind: bus.KindTask, ID: t.ID})
	}
	began := time.Now()
	w.managers.push(bus.Assignments{Tasks: w.own(tasks)}, false)
	w.await("running started", ids...)
	took := time.Since(began)
	w.managers.push(bus.Assignments{Removed: gone}, false)
	w.await("gone", ids...)
	return took
}

// bare is the time that the same containers take straight through the API.
func (w *onDocker) bare(n int) time.Duration {
	ctx := context.Background()
	ids := make([]string, n)
	var g errgroup.Group
	g.SetLimit(4)
	began := time.Now()
	for i := range ids {
		g.Go(func() error {
			made, err := w.client.ContainerCreate(ctx, &container.Config{Image: testImage, Cmd: []string{"sleep"}}, nil, nil, nil, fmt.Sprintf("%s-bare-%d", w.node, i))
			if err != nil {
				return err
			}
			ids[i] = made.ID
			return w.client.ContainerStart(ctx, made.ID, container.StartOptions{})
		})
	}
	err := g.Wait()
	took := time.Since(began)
	for _, id := range ids {
		g.Go(func() error { return w.client.ContainerRemove(ctx, id, container.RemoveOptions{Force: true}) })
	}
	if e := g.Wait(); e != nil || err != nil {
		w.Fatal(err, e)
	}
	return took
}

// BenchmarkDeath is the time from a process' kill to its report.
func BenchmarkDeath(b *testing.B) {
	w := newOnDocker(b)
	round := 0
	for b.Loop() {
		b.StopTimer()
		round++
		t := taskOf(fmt.Sprintf("d%d", round), "sleep")
		w.managers.push(bus.Assignments{Tasks: w.own([]bus.Task{t})}, false)
		w.await("running started", t.ID)
		b.StartTimer()
		if err := w.client.ContainerKill(context.Background(), w.node+"."+t.ID, "KILL"); err != nil {
			b.Fatal(err)
		}
		w.await("failed", t.ID)
	}
}
