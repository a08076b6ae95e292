package compose

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/go-units"
)

// mounts are volumes:, tmpfs: and shm_size:, sorted by target so that the order in the file restarts nothing.
func (c *converter) mounts(s types.ServiceConfig) ([]mount.Mount, error) {
	var out []mount.Mount
	for _, v := range s.Volumes {
		m, err := c.mount(v)
		if err != nil {
			return nil, fmt.Errorf("volumes: %s: %w", v.Target, err)
		}
		out = append(out, m)
	}
	for _, t := range s.Tmpfs {
		m, err := tmpfs(t)
		if err != nil {
			return nil, fmt.Errorf("tmpfs: %w", err)
		}
		out = append(out, m)
	}
	if s.ShmSize > 0 {
		out = append(out, mount.Mount{Type: mount.TypeTmpfs, Target: "/dev/shm", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: int64(s.ShmSize), Mode: 0o1777}})
	}
	slices.SortStableFunc(out, func(a, b mount.Mount) int { return strings.Compare(a.Target, b.Target) })
	for i := 1; i < len(out); i++ {
		if out[i].Target == out[i-1].Target {
			return nil, fmt.Errorf("volumes: %s is mounted twice", out[i].Target)
		}
	}
	return out, nil
}

func (c *converter) mount(v types.ServiceVolumeConfig) (mount.Mount, error) {
	m := mount.Mount{Type: mount.Type(v.Type), Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly, Consistency: mount.Consistency(v.Consistency)}
	switch v.Type {
	case types.VolumeTypeBind:
		if b := v.Bind; b != nil {
			m.BindOptions = &mount.BindOptions{Propagation: mount.Propagation(b.Propagation), CreateMountpoint: bool(b.CreateHostPath)}
			switch b.Recursive {
			case "", "enabled":
			case "disabled":
				m.BindOptions.NonRecursive = true
			case "writable":
				m.BindOptions.ReadOnlyNonRecursive = true
			case "readonly":
				m.BindOptions.ReadOnlyForceRecursive = true
			default:
				return m, fmt.Errorf("bind.recursive: %q is not known", b.Recursive)
			}
			if *m.BindOptions == (mount.BindOptions{}) {
				m.BindOptions = nil
			}
		}
	case types.VolumeTypeVolume:
		c.volume(&m, v)
	case types.VolumeTypeTmpfs:
		if t := v.Tmpfs; t != nil {
			m.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: int64(t.Size), Mode: os.FileMode(t.Mode)}
		}
	case types.VolumeTypeCluster, types.VolumeTypeNamedPipe:
	default:
		return m, fmt.Errorf("type %q is not one of bind, volume, tmpfs, cluster, npipe", v.Type)
	}
	return m, nil
}

// volume names a volume as docker/cli does, and carries the driver along: the node that first needs it creates it.
func (c *converter) volume(m *mount.Mount, v types.ServiceVolumeConfig) {
	o := &mount.VolumeOptions{}
	if v.Volume != nil {
		o.NoCopy, o.Subpath, o.Labels = v.Volume.NoCopy, v.Volume.Subpath, v.Volume.Labels
	}
	if v.Source == "" { // anonymous
		if o.NoCopy || o.Subpath != "" || len(o.Labels) > 0 {
			m.VolumeOptions = o
		}
		return
	}
	def := c.project.Volumes[v.Source]
	if m.Source = def.Name; m.Source == "" {
		m.Source = c.scoped(v.Source)
	}
	if !bool(def.External) {
		labels := c.labels(def.Labels)
		for k, v := range o.Labels {
			labels[k] = v
		}
		o.Labels = labels
		if def.Driver != "" || len(def.DriverOpts) > 0 {
			o.DriverConfig = &mount.Driver{Name: def.Driver, Options: def.DriverOpts}
		}
	}
	m.VolumeOptions = o
}

// tmpfs reads docker run's --tmpfs form: /path[:size=64m,mode=1777,…].
func tmpfs(s string) (mount.Mount, error) {
	path, options, _ := strings.Cut(s, ":")
	m := mount.Mount{Type: mount.TypeTmpfs, Target: path}
	for _, o := range strings.Split(options, ",") {
		if o == "" {
			continue
		}
		if m.TmpfsOptions == nil {
			m.TmpfsOptions = &mount.TmpfsOptions{}
		}
		key, value, ok := strings.Cut(o, "=")
		switch key {
		case "size":
			n, err := units.RAMInBytes(value)
			if err != nil {
				return m, fmt.Errorf("%s: size: %w", s, err)
			}
			m.TmpfsOptions.SizeBytes = n
		case "mode":
			n, err := strconv.ParseUint(value, 8, 32)
			if err != nil {
				return m, fmt.Errorf("%s: mode %q is not octal", s, value)
			}
			m.TmpfsOptions.Mode = os.FileMode(n)
		case "ro":
			m.ReadOnly = true
		case "rw":
		default:
			option := []string{key}
			if ok {
				option = append(option, value)
			}
			m.TmpfsOptions.Options = append(m.TmpfsOptions.Options, option)
		}
	}
	return m, nil
}
