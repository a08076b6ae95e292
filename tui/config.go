package tui

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// keyMap are the keys that a file gives commands, instead of their own.
type keyMap map[string][]string

func (k keyMap) of(c command) []string {
	if keys, ok := k[c.id]; ok {
		return keys
	}
	return c.keys
}

// Config is the user's file, $XDG_CONFIG_HOME/orch/ui.yml.
type Config struct {
	Theme string              `yaml:"theme"`
	Keys  map[string][]string `yaml:"keys"`
}

// ReadConfig reads the user's file; one that is not there says nothing.
func ReadConfig(path string) (Config, error) {
	var c Config
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	defer f.Close()
	dec := yaml.NewDecoder(f)
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func (c Config) check() error {
	if err := checkTheme(c.Theme); err != nil {
		return err
	}
	for _, id := range sortedKeysOf(c.Keys) {
		if _, ok := find(id); !ok {
			return fmt.Errorf("keys: no command %q; `orch ui --keys` lists them", id)
		}
	}
	for _, view := range append(slices.Clone(viewNames), "logs", "inspect", "plan", "diff", "chart") {
		if err := c.ambiguous(view); err != nil {
			return err
		}
	}
	return nil
}

// ambiguous says that a key of the file means two things in one view.
func (c Config) ambiguous(view string) error {
	for i, one := range commands {
		for _, other := range commands[i+1:] {
			if c.Keys[one.id] == nil && c.Keys[other.id] == nil || !one.clashes(other, view) {
				continue
			}
			for _, key := range keyMap(c.Keys).of(one) {
				if slices.Contains(keyMap(c.Keys).of(other), key) {
					return fmt.Errorf("keys: %q is both %s and %s in %s", key, one.id, other.id, view)
				}
			}
		}
	}
	return nil
}

// clashes says that two commands cannot share a key in a view. What is about the object under the cursor goes before what is not.
func (c command) clashes(other command, view string) bool {
	if !c.works(view) || !other.works(view) || (c.on == "") != (other.on == "") {
		return false
	}
	return c.on == "" || slices.ContainsFunc(strings.Fields(c.on), func(k string) bool { return slices.Contains(strings.Fields(other.on), k) })
}

// memory is what is remembered from one run to the next.
type memory struct {
	View   string            `json:"view,omitempty"`
	Theme  string            `json:"theme,omitempty"`
	Tables map[string]layout `json:"tables,omitempty"`
	Logs   logOptions        `json:"logs"`
}

// readMemory reads what was remembered; what cannot be read is forgotten, for it is of no weight.
func readMemory(path string) memory {
	var m memory
	if raw, err := os.ReadFile(path); err != nil || json.Unmarshal(raw, &m) != nil {
		return memory{}
	}
	if checkTheme(m.Theme) != nil {
		m.Theme = ""
	}
	return m
}

func (m memory) write(path string) error {
	if path == "" {
		return nil
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	next := path + ".new" // a second dashboard never reads half of it
	if err := os.WriteFile(next, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// KeyTable is every command with its keys, as the file of keys names them.
func KeyTable(c Config) string {
	out := ""
	for _, cmd := range commands {
		keys, _ := yaml.Marshal(keyMap(c.Keys).of(cmd)) // strings always can be
		out += fmt.Sprintf("  %s: %s # %s\n", cmd.id, flow(keys), cmd.help)
	}
	return "keys:\n" + out
}

// flow writes a YAML list in one line.
func flow(list []byte) string {
	var n yaml.Node
	if yaml.Unmarshal(list, &n) != nil || len(n.Content) == 0 {
		return "[]"
	}
	n.Content[0].Style = yaml.FlowStyle
	out, _ := yaml.Marshal(&n)
	return string(out[:len(out)-1])
}

func sortedKeysOf(m map[string][]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
