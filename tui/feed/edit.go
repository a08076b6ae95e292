package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/docker/api/types/swarm"
	"go.yaml.in/yaml/v3"
)

// Edit is a service's spec in a file, while the user changes it.
type Edit struct {
	Path     string
	ID, Name string
	before   string
	from     swarm.Version
}

// BeginEdit writes the spec of a service into a file for an editor.
func BeginEdit(ctx context.Context, c Client, id string) (*Edit, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, _, err := c.ServiceInspectWithRaw(ctx, id, swarm.ServiceInspectOptions{})
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(s.Spec)
	if err != nil {
		return nil, err
	}
	text, err := yamlOf(raw)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "orch-edit-") // for this user alone: a spec holds environment variables
	if err != nil {
		return nil, err
	}
	e := &Edit{Path: filepath.Join(dir, "service.yaml"), ID: id, Name: s.Spec.Name, before: text, from: s.Version}
	head := "# " + s.Spec.Name + ": what is saved is shown as a difference before it is applied. Saving nothing changes nothing.\n"
	if err := os.WriteFile(e.Path, []byte(head+text), 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return e, nil
}

// Finish reads what the editor saved, takes the file away, and returns the difference and the change that applies it; no lines, no difference.
func (e *Edit) Finish() (lines []string, ch Change, err error) {
	defer func() { err = errors.Join(err, os.RemoveAll(filepath.Dir(e.Path))) }()
	saved, err := os.ReadFile(e.Path)
	if err != nil {
		return nil, ch, err
	}
	spec, after, err := readSpec(saved)
	if err != nil {
		return nil, ch, fmt.Errorf("%s was not changed: %w", e.Name, err)
	}
	if after == e.before {
		return nil, ch, nil
	}
	return difference(strings.Split(strings.TrimSpace(e.before), "\n"), strings.Split(strings.TrimSpace(after), "\n")), Replace(e.ID, e.Name, e.from, spec), nil
}

// readSpec reads a spec from YAML, and writes it again as it was understood.
func readSpec(text []byte) (spec swarm.ServiceSpec, again string, err error) {
	var v map[string]any
	if err = yaml.Unmarshal(text, &v); err != nil {
		return spec, "", err
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return spec, "", err
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.DisallowUnknownFields() // a misspelt key must not be dropped in silence
	if err = dec.Decode(&spec); err != nil {
		return spec, "", err
	}
	if raw, err = json.Marshal(spec); err != nil {
		return spec, "", err
	}
	again, err = yamlOf(raw)
	return spec, again, err
}

// around is how many lines around a change are shown.
const around = 3

// difference marks lines that are only in a with -, only in b with +, and shows those around them.
func difference(a, b []string) []string {
	// The longest common subsequence: specs have a few hundred lines.
	length := make([][]int, len(a)+1)
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var all []string
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			all = append(all, "  "+a[i])
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || length[i+1][j] >= length[i][j+1]):
			all = append(all, "- "+a[i])
			i++
		default:
			all = append(all, "+ "+b[j])
			j++
		}
	}
	return nearby(all)
}

// nearby leaves out what is far from any change.
func nearby(all []string) (out []string) {
	shown := make([]bool, len(all))
	for i, l := range all {
		if l[0] == ' ' {
			continue
		}
		for k := max(0, i-around); k <= min(len(all)-1, i+around); k++ {
			shown[k] = true
		}
	}
	for i, l := range all {
		switch {
		case shown[i]:
			out = append(out, l)
		case i > 0 && shown[i-1]:
			out = append(out, "  …")
		}
	}
	return out
}
