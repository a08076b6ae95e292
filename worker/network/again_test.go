package network

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/system"

	"orch/internal/bus"
)

// engine is Docker's networks in memory.
type engine struct {
	networks []network.Summary
	busy     map[string]bool // by name: containers are on it
}

func (e *engine) Info(context.Context) (system.Info, error) { return system.Info{}, nil }

func (e *engine) NetworkList(context.Context, network.ListOptions) ([]network.Summary, error) {
	return slices.Clone(e.networks), nil
}

func (e *engine) NetworkInspect(_ context.Context, id string, _ network.InspectOptions) (network.Inspect, error) {
	for _, n := range e.networks {
		if n.ID == id && e.busy[n.Name] {
			n.Containers = map[string]network.EndpointResource{"c": {}}
			return n, nil
		}
	}
	return network.Inspect{ID: id}, nil
}

func (e *engine) NetworkCreate(_ context.Context, name string, o network.CreateOptions) (network.CreateResponse, error) {
	id := "docker-" + o.Labels[idLabel]
	e.networks = append(e.networks, network.Summary{ID: id, Name: name, Labels: o.Labels})
	return network.CreateResponse{ID: id}, nil
}

func (e *engine) NetworkRemove(_ context.Context, id string) error {
	e.networks = slices.DeleteFunc(e.networks, func(n network.Summary) bool { return n.ID == id })
	return nil
}

// A stack that is removed and deployed again has a network of the same name, maybe before the old one is gone here.
func TestANetworkMadeAgainTakesTheOldOnesPlace(t *testing.T) {
	e := &engine{busy: map[string]bool{}}
	n, err := New(t.Context(), Config{NodeID: "n1", Docker: e, StateDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	spec := func(id, subnet, gateway string) bus.Network {
		return bus.Network{ID: id, Name: "shop_default", Subnet: subnet, Gateway: gateway, NodeIP: strings.TrimSuffix(gateway, "1") + "9", VNI: 4097}
	}
	if _, err := n.ensure(t.Context(), spec("old", "10.0.1.0/24", "10.0.1.1")); err != nil {
		t.Fatal(err)
	}
	e.busy["shop_default"] = true
	if _, err := n.ensure(t.Context(), spec("new", "10.0.2.0/24", "10.0.2.1")); err == nil || !strings.Contains(err.Error(), "another network of this name") {
		t.Errorf("with containers still on the old one: %v", err)
	}
	e.busy["shop_default"] = false
	id, err := n.ensure(t.Context(), spec("new", "10.0.2.0/24", "10.0.2.1"))
	if err != nil || id != "docker-new" || len(e.networks) != 1 {
		t.Errorf("made %q of %+v: %v", id, e.networks, err)
	}
}
