package compose

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/google/go-cmp/cmp"
)

// builder notes what it is asked to build.
type builder struct {
	reply   string
	options build.ImageBuildOptions
	files   map[string]string
}

func (b *builder) ImageBuild(_ context.Context, r io.Reader, o build.ImageBuildOptions) (build.ImageBuildResponse, error) {
	b.options, b.files = o, map[string]string{}
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if err == io.EOF {
			return build.ImageBuildResponse{Body: io.NopCloser(strings.NewReader(b.reply))}, nil
		}
		if err != nil {
			return build.ImageBuildResponse{}, err
		}
		if h.Typeflag == tar.TypeReg {
			var content bytes.Buffer
			if _, err := io.Copy(&content, in); err != nil {
				return build.ImageBuildResponse{}, err
			}
			b.files[h.Name] = content.String()
		}
	}
}

func (b *builder) ImageInspect(context.Context, string, ...client.ImageInspectOption) (image.InspectResponse, error) {
	return image.InspectResponse{ID: "sha256:inspected"}, nil
}

func TestBuildContext(t *testing.T) {
	for _, c := range []struct {
		name, build, dockerfile string
		files                   []string
	}{
		{"plain", "{context: ctx}", "Dockerfile", []string{".dockerignore", "Dockerfile", "keep"}},
		{"named", "{context: ctx, dockerfile: sub/Other}", "sub/Other", []string{".dockerignore", "keep", "sub/Other"}},
		{"outside", "{context: ctx, dockerfile: ../Outside}", outsideDockerfile, []string{outsideDockerfile, ".dockerignore", "keep"}},
		{"inline", "{context: ctx, dockerfile_inline: FROM scratch}", outsideDockerfile, []string{outsideDockerfile, ".dockerignore", "keep"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := write(t, map[string]string{
				"compose.yaml": "services: {web: {build: " + c.build + "}}\n", "Outside": "FROM scratch\n",
				"ctx/.dockerignore": "*\n!keep\n", "ctx/Dockerfile": "FROM scratch\n", "ctx/sub/Other": "FROM scratch\n", "ctx/keep": "k", "ctx/drop": "d",
			})
			p, err := Load(context.Background(), LoadOptions{Files: []string{filepath.Join(dir, "compose.yaml")}, Env: []string{}})
			if err != nil {
				t.Fatal(err)
			}
			b := &builder{reply: `{"stream":"Step 1\n"}{"aux":{"ID":"sha256:made"}}`}
			var lines []string
			images, err := Build(context.Background(), b, p, BuildOptions{Output: func(_, line string) { lines = append(lines, line) }})
			if err != nil {
				t.Fatal(err)
			}
			var files []string
			for name := range b.files {
				files = append(files, name)
			}
			slices.Sort(files)
			slices.Sort(c.files)
			if d := cmp.Diff(c.files, files); d != "" {
				t.Errorf("files (-want +got):\n%s", d)
			}
			if b.options.Dockerfile != c.dockerfile || b.options.Version != build.BuilderV1 {
				t.Errorf("options = %+v", b.options)
			}
			if images["web"] != "sha256:made" || !slices.Equal(lines, []string{"Step 1"}) || b.options.Tags[0] != "shop-web" {
				t.Errorf("images %v, lines %q, tags %v", images, lines, b.options.Tags)
			}
		})
	}
}

func TestBuildFails(t *testing.T) {
	dir := write(t, map[string]string{"compose.yaml": "services: {web: {build: .}}\n", "Dockerfile": "FROM nosuch\n"})
	p, err := Load(context.Background(), LoadOptions{WorkingDir: dir, Env: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Build(context.Background(), &builder{reply: `{"error":"pull access denied"}`}, p, BuildOptions{})
	if err == nil || err.Error() != "build web: pull access denied" {
		t.Errorf("err = %v", err)
	}
}
