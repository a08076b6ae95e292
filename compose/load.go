package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/consts"
	"github.com/compose-spec/compose-go/v2/graph"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// maxNodes bounds the YAML nodes that one load visits. compose-go's own bound is below what a generated manifest of some
// megabytes holds; this one still ends an alias bomb in seconds.
const maxNodes = 20_000_000

// maxFile is the size above which a compose file is taken for something else.
const maxFile = 64 << 20

// LoadOptions say what to load. The zero value is `compose.yaml` (or its other names) of the working directory.
type LoadOptions struct {
	Files       []string // in the order of their overriding; "-" is Stdin
	EnvFiles    []string // none: .env beside the first file, if there is one
	Profiles    []string // none: COMPOSE_PROFILES
	ProjectName string   // the stack's name; empty: from the file, else from the directory
	WorkingDir  string   // what relative paths are relative to; empty: the first file's directory
	Env         []string // KEY=VALUE for interpolation; nil: the process's environment
	Stdin       io.Reader
}

// Load reads, merges and checks compose files. Its errors are *LoadError where a place in a file is to blame.
func Load(ctx context.Context, o LoadOptions) (*Project, error) {
	files, details, options, err := prepare(o)
	if err != nil {
		return nil, err
	}
	var found []loader.UnsupportedAttribute
	options = append(options, loader.WithUnsupportedAttributesCheck(unsupportedPatterns(), func(a []loader.UnsupportedAttribute) { found = a }))
	model, err := loader.LoadWithContext(ctx, details, options...)
	if err != nil {
		return nil, locate(err, files)
	}
	if err := graph.CheckCycle(model); err != nil {
		return nil, locate(err, files)
	}
	for _, f := range details.ConfigFiles {
		model.ComposeFiles = append(model.ComposeFiles, f.Filename)
	}
	p := &Project{model: model, files: files}
	if err := p.account(found, files); err != nil {
		return nil, err
	}
	return p, p.checkNames(files)
}

// prepare reads the files and works out project name, directory and environment, in docker compose's order of precedence.
func prepare(o LoadOptions) ([]types.ConfigFile, types.ConfigDetails, []func(*loader.Options), error) {
	fail := func(err error) ([]types.ConfigFile, types.ConfigDetails, []func(*loader.Options), error) {
		return nil, types.ConfigDetails{}, nil, err
	}
	env := o.Env
	if env == nil {
		env = os.Environ()
	}
	opts, err := cli.NewProjectOptions(o.Files,
		cli.WithWorkingDirectory(o.WorkingDir), cli.WithEnv(env), cli.WithConfigFileEnv, cli.WithDefaultConfigPath, cli.WithEnvFiles(o.EnvFiles...), cli.WithDotEnv)
	if err != nil {
		return fail(fmt.Errorf("load: %w", err))
	}
	dir, err := opts.GetWorkingDir()
	if err != nil {
		return fail(fmt.Errorf("load: find the working directory: %w", err))
	}
	if len(opts.ConfigPaths) == 0 {
		return fail(fmt.Errorf("no compose file in %s or above: looked for compose.yaml, compose.yml, docker-compose.yml, docker-compose.yaml; name one with -c", dir))
	}
	files, err := read(opts.ConfigPaths, o.Stdin)
	if err != nil {
		return fail(err)
	}
	name, explicit := o.ProjectName, o.ProjectName != ""
	if !explicit {
		name, explicit = opts.Environment[consts.ComposeProjectName], opts.Environment[consts.ComposeProjectName] != ""
	}
	if !explicit {
		name = loader.NormalizeProjectName(filepath.Base(dir))
	}
	profiles := o.Profiles
	if v := opts.Environment[consts.ComposeProfiles]; len(profiles) == 0 && v != "" {
		profiles = strings.Split(v, ",")
	}
	details := types.ConfigDetails{ConfigFiles: files, WorkingDir: dir, Environment: opts.Environment}
	options := []func(*loader.Options){
		loader.WithProfiles(profiles),
		func(l *loader.Options) {
			l.SetProjectName(name, explicit)
			l.MaxNodeVisits = maxNodes
		},
	}
	return files, details, options, nil
}

// read takes the files' contents in, so that errors and warnings can later be placed in what was really read.
func read(paths []string, stdin io.Reader) ([]types.ConfigFile, error) {
	var files []types.ConfigFile
	for _, path := range paths {
		r, name := stdin, path
		if path != "-" {
			f, err := os.Open(path)
			if err != nil {
				return nil, fmt.Errorf("compose file: %w", err)
			}
			defer f.Close()
			if name, err = filepath.Abs(path); err != nil {
				return nil, fmt.Errorf("compose file %s: %w", path, err)
			}
			r = f
		}
		if r == nil {
			return nil, errors.New("compose file -: there is no standard input")
		}
		b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
		if err != nil {
			return nil, fmt.Errorf("compose file %s: %w", path, err)
		}
		if len(b) > maxFile {
			return nil, fmt.Errorf("compose file %s: larger than %d MiB", path, maxFile>>20)
		}
		files = append(files, types.ConfigFile{Filename: name, Content: b})
	}
	return files, nil
}
