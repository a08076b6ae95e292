package compose

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/extra"
)

// leaf is one value of a flattened object.
type leaf struct{ path, value string }

// serviceFields compares two specs after both have been brought to the same form.
func serviceFields(old, want swarm.ServiceSpec, networkNames map[string]string) []Field {
	old, want = normalise(old, networkNames), normalise(want, networkNames)
	// A digest that the server resolved is not a difference; another tag or another written digest is.
	if o, w := old.TaskTemplate.ContainerSpec, want.TaskTemplate.ContainerSpec; !strings.Contains(w.Image, "@") {
		o.Image, _, _ = strings.Cut(o.Image, "@")
	}
	// ForceUpdate counts restarts that were asked for by hand; a file has no opinion about it.
	want.TaskTemplate.ForceUpdate = old.TaskTemplate.ForceUpdate
	return compare(flatten(specView(old)), flatten(specView(want)))
}

// specView makes lists comparable by what identifies their items, so that a new variable is one difference rather than a
// shift of all that follow.
func specView(s swarm.ServiceSpec) map[string]any {
	view := toMap(s)
	delete(view, "Name")
	template, _ := view["TaskTemplate"].(map[string]any)
	if c, ok := template["ContainerSpec"].(map[string]any); ok {
		env := map[string]any{}
		for _, kv := range s.TaskTemplate.ContainerSpec.Env {
			k, v, _ := strings.Cut(kv, "=")
			env[k] = strconv.Quote(v)
		}
		c["Env"] = env
		index(c, "Mounts", func(m map[string]any) string { return text(m["Target"]) })
		index(c, "Secrets", fileName)
		index(c, "Configs", fileName)
		index(c, "Ulimits", func(m map[string]any) string { return text(m["Name"]) })
		if e, err := extra.FromLabels(s.TaskTemplate.ContainerSpec.Labels); err == nil && !e.IsZero() {
			delete(c["Labels"].(map[string]any), extra.Label)
			c["Extra"] = toMap(e)
		}
	}
	index(template, "Networks", func(m map[string]any) string { return text(m["Target"]) })
	if e, ok := view["EndpointSpec"].(map[string]any); ok {
		index(e, "Ports", func(m map[string]any) string {
			return text(m["PublishedPort"]) + ":" + text(m["TargetPort"]) + "/" + text(m["Protocol"])
		})
	}
	return view
}

// index replaces the list m[key] by a map whose keys name the items.
func index(m map[string]any, key string, name func(map[string]any) string) {
	list, ok := m[key].([]any)
	if !ok {
		return
	}
	byName := map[string]any{}
	for _, item := range list {
		if im, ok := item.(map[string]any); ok {
			byName["["+name(im)+"]"] = im
		}
	}
	m[key] = byName
}

func fileName(m map[string]any) string {
	f, _ := m["File"].(map[string]any)
	return text(f["Name"])
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func toMap(v any) map[string]any {
	b, err := json.Marshal(v)
	if err != nil {
		return nil // Docker's types always marshal
	}
	var m map[string]any
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	if d.Decode(&m) != nil {
		return nil
	}
	return m
}

// flatten lists the leaves of a value with their paths, sorted. What is empty is as good as absent.
func flatten(v any) []leaf {
	var leaves []leaf
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				sep := "."
				if path == "" || strings.HasPrefix(k, "[") {
					sep = ""
				}
				walk(path+sep+k, e)
			}
		case []any:
			for i, e := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), e)
			}
		case nil:
		case string:
			if v != "" {
				leaves = append(leaves, leaf{path, v})
			}
		case bool:
			if v {
				leaves = append(leaves, leaf{path, "true"})
			}
		default:
			if s := fmt.Sprint(v); s != "0" {
				leaves = append(leaves, leaf{path, s})
			}
		}
	}
	if m, ok := v.(map[string]any); ok {
		walk("", m)
	} else {
		walk("", toMap(v))
	}
	slices.SortFunc(leaves, func(a, b leaf) int { return strings.Compare(a.path, b.path) })
	return leaves
}

// compare merges two sorted lists of leaves into their differences.
func compare(old, want []leaf) []Field {
	var fields []Field
	for len(old) > 0 || len(want) > 0 {
		switch {
		case len(want) == 0 || len(old) > 0 && old[0].path < want[0].path:
			fields = append(fields, Field{Path: old[0].path, Old: old[0].value})
			old = old[1:]
		case len(old) == 0 || want[0].path < old[0].path:
			fields = append(fields, Field{Path: want[0].path, New: want[0].value})
			want = want[1:]
		default:
			if old[0].value != want[0].value {
				fields = append(fields, Field{old[0].path, old[0].value, want[0].value})
			}
			old, want = old[1:], want[1:]
		}
	}
	return fields
}

// networkFields compares only what the file says: the server adds a subnet, options and more.
func networkFields(want network.CreateOptions, have network.Summary) []Field {
	var fields []Field
	differ := func(path, old, new string) {
		if old != new {
			fields = append(fields, Field{path, old, new})
		}
	}
	differ("Driver", have.Driver, want.Driver)
	differ("Internal", strconv.FormatBool(have.Internal), strconv.FormatBool(want.Internal))
	differ("Attachable", strconv.FormatBool(have.Attachable), strconv.FormatBool(want.Attachable))
	for k, v := range want.Options {
		differ("Options."+k, have.Options[k], v)
	}
	if want.IPAM != nil {
		for i, c := range want.IPAM.Config {
			old := network.IPAMConfig{}
			if i < len(have.IPAM.Config) {
				old = have.IPAM.Config[i]
			}
			if c.Subnet != "" {
				differ(fmt.Sprintf("IPAM.Config[%d].Subnet", i), old.Subnet, c.Subnet)
			}
			if c.Gateway != "" {
				differ(fmt.Sprintf("IPAM.Config[%d].Gateway", i), old.Gateway, c.Gateway)
			}
		}
	}
	slices.SortFunc(fields, func(a, b Field) int { return strings.Compare(a.Path, b.Path) })
	return fields
}
