package compose

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/go-archive"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// outsideDockerfile is what a Dockerfile that is not part of the context is called in it.
const outsideDockerfile = ".dockerfile.orch"

// buildContext is the tar of a build's directory, less what .dockerignore excludes, and the Dockerfile's name in it.
func buildContext(b *types.BuildConfig) (io.ReadCloser, string, error) {
	info, err := os.Stat(b.Context)
	if err != nil {
		return nil, "", fmt.Errorf("context: %w", err)
	}
	if !info.IsDir() {
		return nil, "", fmt.Errorf("context: %s is not a directory", b.Context)
	}
	name, content, err := dockerfile(b)
	if err != nil {
		return nil, "", err
	}
	excludes, err := ignored(b.Context, name)
	if err != nil {
		return nil, "", err
	}
	files, err := archive.TarWithOptions(b.Context, &archive.TarOptions{ExcludePatterns: excludes, ChownOpts: &archive.ChownOpts{}})
	if err != nil {
		return nil, "", fmt.Errorf("context %s: %w", b.Context, err)
	}
	if content == nil {
		return files, name, nil
	}
	return withFile(files, outsideDockerfile, content), outsideDockerfile, nil
}

// dockerfile finds the Dockerfile: its name in the context, or its content when it is inline or outside.
func dockerfile(b *types.BuildConfig) (name string, content []byte, err error) {
	if b.DockerfileInline != "" {
		return outsideDockerfile, []byte(b.DockerfileInline), nil
	}
	path := b.Dockerfile
	if path == "" {
		path = "Dockerfile"
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(b.Context, path)
	}
	if _, err := os.Stat(path); err != nil {
		return "", nil, fmt.Errorf("dockerfile: %w", err)
	}
	rel, err := filepath.Rel(b.Context, path)
	if err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel), nil, nil
	}
	if content, err = os.ReadFile(path); err != nil {
		return "", nil, fmt.Errorf("dockerfile: %w", err)
	}
	return outsideDockerfile, content, nil
}

// ignored reads the Dockerfile's own .dockerignore, else the context's. The two files that the engine itself needs are
// never left out.
func ignored(context, dockerfile string) ([]string, error) {
	var patterns []string
	for _, name := range []string{dockerfile + ".dockerignore", ".dockerignore"} {
		f, err := os.Open(filepath.Join(context, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		defer f.Close()
		if patterns, err = ignorefile.ReadAll(f); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		break
	}
	for _, keep := range []string{".dockerignore", dockerfile} {
		hidden, err := patternmatcher.MatchesOrParentMatches(keep, patterns)
		if err != nil {
			return nil, fmt.Errorf(".dockerignore: %w", err)
		}
		if hidden {
			patterns = append(slices.Clone(patterns), "!"+keep)
		}
	}
	return patterns, nil
}

// withFile copies a tar and puts one more file in front.
func withFile(in io.ReadCloser, name string, content []byte) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		defer in.Close()
		w.CloseWithError(copyTar(w, in, name, content))
	}()
	return r
}

func copyTar(w io.Writer, in io.Reader, name string, content []byte) error {
	// A fixed time keeps the engine's cache valid from one build to the next.
	header := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(content)), ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg}
	out := tar.NewWriter(w)
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	if _, err := out.Write(content); err != nil {
		return err
	}
	from := tar.NewReader(in)
	for {
		h, err := from.Next()
		if err == io.EOF {
			return out.Close()
		}
		if err != nil {
			return err
		}
		if strings.TrimPrefix(h.Name, "./") == name {
			continue
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(out, from); err != nil {
			return err
		}
	}
}
