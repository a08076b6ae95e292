package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/docker/docker/api/types/image"
)

// Image is the image that Load puts on hosts: test/app with `app sleep` as its command.
const Image = "orch-test/app:1"

// program is the test program, built once per process.
var program = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "orch-app")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "app")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "orch/test/app")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the test program: %w: %s", err, out)
	}
	return os.ReadFile(path)
})

// Load puts Image on every host, under that and further names.
func (l *Lab) Load(ctx context.Context, names ...string) error {
	for _, h := range l.Hosts {
		if err := h.Load(ctx, append([]string{Image}, names...)...); err != nil {
			return fmt.Errorf("load the image on %s: %w", h.Name, err)
		}
	}
	return nil
}

// Load puts the test program's image on the host under the given names.
func (h *Host) Load(ctx context.Context, names ...string) error {
	app, err := program()
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(app))}); err != nil {
		return err
	}
	if _, err := w.Write(app); err != nil {
		return err
	}
	// The program is the image's shell, too.
	if err := w.WriteHeader(&tar.Header{Name: "bin/sh", Linkname: "/app", Typeflag: tar.TypeSymlink, Mode: 0o777}); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	cli, err := h.Docker()
	if err != nil {
		return err
	}
	defer cli.Close()
	for i, name := range names {
		if i > 0 {
			if err := cli.ImageTag(ctx, names[0], name); err != nil {
				return err
			}
			continue
		}
		r, err := cli.ImageImport(ctx, image.ImportSource{Source: bytes.NewReader(archive.Bytes()), SourceName: "-"}, name,
			image.ImportOptions{Changes: []string{`ENTRYPOINT ["/app"]`, `CMD ["sleep"]`}})
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r)
		r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
