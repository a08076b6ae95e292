package enginetest

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/client"
)

// required is the environment variable that makes a missing dockerd a failure.
const required = "ORCH_TEST_DOCKER"

// Docker is a client of the dockerd that tests may use; without one the test is skipped, and fails where it may not be.
func Docker(t testing.TB) *client.Client {
	t.Helper()
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err == nil {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = c.Ping(ctx)
	}
	if err != nil {
		if os.Getenv(required) == "required" {
			t.Fatalf("no dockerd, which %s says is required: %v", required, err)
		}
		t.Skipf("no dockerd: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// BuildImage makes the test image, from nothing but one static binary.
func BuildImage(t testing.TB, c *client.Client, name string) {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	binary := filepath.Join(t.TempDir(), "t")
	compile := exec.Command("go", "build", "-ldflags=-s -w", "-o", binary, ".")
	compile.Dir = filepath.Join(filepath.Dir(here), "testdata", "t")
	compile.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("compile the test image's binary: %v\n%s", err, out)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	var context bytes.Buffer
	w := tar.NewWriter(&context)
	for name, data := range map[string][]byte{"t": program, "Dockerfile": []byte("FROM scratch\nCOPY t /t\nENTRYPOINT [\"/t\"]\n")} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	built, err := c.ImageBuild(t.Context(), &context, build.ImageBuildOptions{Tags: []string{name}, Remove: true, ForceRemove: true})
	if err != nil {
		t.Fatalf("build the test image: %v", err)
	}
	defer built.Body.Close()
	var log bytes.Buffer
	if _, err := log.ReadFrom(built.Body); err != nil {
		t.Fatalf("build the test image: %v", err)
	}
	if _, err := c.ImageInspect(t.Context(), name); err != nil {
		t.Fatalf("build the test image: %v\n%s", err, log.String())
	}
}
