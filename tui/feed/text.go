package feed

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"go.yaml.in/yaml/v3"

	"orch/compose"
)

// Inspect is one object of a view as the API tells it, as YAML or indented JSON. Contents of secrets and configs are not in it.
func Inspect(ctx context.Context, c Client, view, id string, asJSON bool) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	raw, err := inspect(ctx, c, view, id)
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", id, err)
	}
	var out string
	if asJSON {
		var b bytes.Buffer
		err = json.Indent(&b, raw, "", "  ")
		out = b.String()
	} else {
		out, err = yamlOf(raw)
	}
	if err != nil {
		return nil, fmt.Errorf("inspect %s: %w", id, err)
	}
	return strings.Split(strings.TrimSpace(out), "\n"), nil
}

func inspect(ctx context.Context, c Client, view, id string) (raw []byte, err error) {
	var v any
	switch view {
	case "services":
		_, raw, err = c.ServiceInspectWithRaw(ctx, id, swarm.ServiceInspectOptions{})
		return raw, err
	case "tasks":
		_, raw, err = c.TaskInspectWithRaw(ctx, id)
		return raw, err
	case "nodes":
		_, raw, err = c.NodeInspectWithRaw(ctx, id)
		return raw, err
	case "networks":
		v, err = c.NetworkInspect(ctx, id, network.InspectOptions{Verbose: true})
	case "volumes":
		v, err = c.VolumeInspect(ctx, id)
	case "images":
		v, err = c.ImageInspect(ctx, id)
	case "secrets":
		s, _, e := c.SecretInspectWithRaw(ctx, id)
		s.Spec.Data = nil
		v, err = s, e
	case "configs":
		s, _, e := c.ConfigInspectWithRaw(ctx, id)
		s.Spec.Data = nil
		v, err = s, e
	default:
		return nil, fmt.Errorf("there is nothing to inspect in %s", view)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// yamlOf writes JSON as YAML, its fields in their order.
func yamlOf(raw []byte) (string, error) {
	var n yaml.Node
	if err := yaml.Unmarshal(raw, &n); err != nil { // JSON is YAML
		return "", err
	}
	blockStyle(&n)
	var out strings.Builder
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&n); err != nil {
		return "", err
	}
	return out.String(), enc.Close()
}

func blockStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// Revision says what a deploy changed.
func Revision(ctx context.Context, c Client, stack string, number int) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := compose.History(ctx, c, stack)
	if err != nil {
		return nil, err
	}
	for _, r := range list {
		if r.Number != number {
			continue
		}
		changes, err := r.Changes()
		if err != nil {
			return nil, err
		}
		return planLines(&compose.Plan{Stack: stack, Changes: changes})
	}
	return nil, fmt.Errorf("stack %s has no revision %d any more", stack, number)
}

func planLines(p *compose.Plan) ([]string, error) {
	var out strings.Builder
	if err := p.WriteText(&out); err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for _, w := range p.Warnings {
		lines = append(lines, "warning: "+fmt.Sprint(w))
	}
	return lines, nil
}
