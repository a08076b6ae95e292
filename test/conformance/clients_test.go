package conformance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"orch/test/lab"
)

// clientLimit bounds a whole client's run.
const clientLimit = 3 * time.Minute

// python is the distribution's, which python3-docker is for; another may come first in the path.
const python = "/usr/bin/python3"

// TestClients: other programs than docker's own do their work on orch's socket.
func TestClients(t *testing.T) {
	l := lab.New(t, lab.Config{Hosts: 1})
	if err := l.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	orch := newSide(l.Hosts[0], daemon(t, l.Hosts[0], program(t)))
	if err := orch.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Run("Docker's SDK for Python", func(t *testing.T) {
		if err := exec.Command(python, "-c", "import docker").Run(); err != nil {
			missing(t, "python3-docker is not installed: apt-get install python3-docker")
		}
		script, err := filepath.Abs("testdata/clients/sdk.py")
		if err != nil {
			t.Fatal(err)
		}
		orch.works(t, python, script, lab.Image)
	})
	t.Run("docker-compose", func(t *testing.T) {
		path, err := exec.LookPath("docker-compose")
		if err != nil {
			missing(t, "docker-compose is not installed: apt-get install docker-compose")
		}
		file := filepath.Join(orch.host.Dir, "compose.yml")
		compose := "services:\n  web: {image: '" + lab.Image + "', command: [lines, '2'], environment: {A: b}, networks: [back]}\nnetworks: {back: {}}\n"
		if err := os.WriteFile(file, []byte(compose), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"up", "-d"}, {"ps"}, {"logs"}, {"exec", "-T", "web", "/app", "env", "A"}, {"restart", "-t", "1"}, {"down"}} {
			orch.works(t, append([]string{path, "-p", "c", "-f", file}, args...)...)
		}
	})
}

func (s *side) works(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientLimit)
	defer cancel()
	if out, err := s.host.Run(ctx, append([]string{"env", "DOCKER_HOST=unix://" + s.socket, "HOME=" + s.host.Dir}, args...)...); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// missing skips loudly: what is not there was not tried.
func missing(t *testing.T, why string) {
	t.Helper()
	t.Skip("SKIPPED: " + why)
}
