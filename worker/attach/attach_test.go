package attach

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/network"
	"github.com/google/go-cmp/cmp"

	"orch/internal/bus"
)

// node is an engine, the networks and the managers of one node, in memory.
type node struct {
	containers []container.InspectResponse
	told       []bus.Attached
	attached   map[string]int // by container, its PID
	away       bool
	ensured    []string
	answer     bus.Attachment
}

func (n *node) ContainerList(context.Context, container.ListOptions) (out []container.Summary, err error) {
	for _, c := range n.containers {
		out = append(out, container.Summary{ID: c.ID, Labels: c.Config.Labels, NetworkSettings: &container.NetworkSettingsSummary{Networks: c.NetworkSettings.Networks}})
	}
	return out, nil
}

func (n *node) ContainerInspect(_ context.Context, id string) (container.InspectResponse, error) {
	i := slices.IndexFunc(n.containers, func(c container.InspectResponse) bool { return c.ID == id })
	return n.containers[i], nil
}

func (n *node) NetworkInspect(_ context.Context, ref string, _ network.InspectOptions) (network.Inspect, error) {
	switch ref {
	case "mine":
		return network.Inspect{ID: "mineid"}, nil
	case "back":
		return network.Inspect{ID: "engineback"}, nil
	}
	return network.Inspect{}, errors.New("not found")
}

func (n *node) Events(context.Context, events.ListOptions) (<-chan events.Message, <-chan error) {
	return nil, nil
}

func (n *node) Attach(ctx context.Context, _ string, id string, pid int, _ []string) error {
	n.attached[id] = pid
	return ctx.Err()
}
func (n *node) Detach(id string) { delete(n.attached, id) }
func (n *node) Mine(context.Context) (map[string]string, error) {
	return map[string]string{"engineback": "backid", "back": "backid"}, nil
}

func (n *node) Ensure(_ context.Context, w bus.Network) (string, error) {
	n.ensured = append(n.ensured, w.Name)
	return "engineback", nil
}

type managers struct{ *node }

func (m managers) Attach(_ context.Context, r bus.AttachRequest) (bus.Attachment, error) {
	if m.away {
		return bus.Attachment{}, bus.ErrNoManager
	}
	return m.answer, nil
}

func (m managers) Attached(_ context.Context, a bus.Attached) error {
	if m.away {
		return bus.ErrNoManager
	}
	m.told = append(m.told, a)
	return nil
}

func keeper() (*Keeper, *node) {
	n := &node{attached: map[string]int{}}
	return New(Config{Managers: managers{n}, Network: n, Docker: n, Log: slog.New(slog.DiscardHandler)}), n
}

func onBack(id, name string, pid int, labels map[string]string, aliases ...string) container.InspectResponse {
	return container.InspectResponse{
		ContainerJSONBase: &container.ContainerJSONBase{ID: id, Name: "/" + name, State: &container.State{Running: pid > 0, Pid: pid}},
		Config:            &container.Config{Labels: labels},
		NetworkSettings: &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{"back": {
			IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: "10.0.1.5"}, Aliases: aliases,
		}}},
	}
}

// What containers hold is told as a whole, when it is news; those of tasks are not told, and running ones are prepared.
func TestWhatIsHeldIsTold(t *testing.T) {
	k, n := keeper()
	n.containers = []container.InspectResponse{onBack("abcdef", "lone", 42, nil, "alias", "abc"), onBack("t", "task", 7, map[string]string{taskLabel: "x"})}
	told := k.look(t.Context(), "")
	want := bus.Attached{Held: []bus.Held{{Network: "backid", Address: "10.0.1.5", Container: "abcdef", Name: "lone", Aliases: []string{"alias"}, Running: true}}}
	if d := cmp.Diff([]bus.Attached{want}, n.told); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[string]int{"abcdef": 42}, n.attached); d != "" {
		t.Error(d)
	}
	// It has ended, and its place stays; a container that did not come about gives its place back.
	n.containers[0].State = &container.State{}
	k.Drop("att1")
	n.away = true
	if k.look(t.Context(), told) != "" {
		t.Error("taken for told, without managers")
	}
	n.away = false
	told = k.look(t.Context(), "")
	last := n.told[len(n.told)-1]
	if len(n.attached) != 0 || len(last.Held) != 1 || last.Held[0].Running || !slices.Equal(last.Dropped, []string{"att1"}) {
		t.Errorf("attached %v, told %+v", n.attached, last)
	}
	n.containers = nil
	told = k.look(t.Context(), told)
	before := len(n.told)
	if k.look(t.Context(), told); len(n.told) != before || len(n.told[before-1].Held) != 0 {
		t.Errorf("a node without such containers says %+v", n.told[before-1:])
	}
}

func TestJoin(t *testing.T) {
	k, n := keeper()
	n.answer = bus.Attachment{ID: "a", Addresses: []string{"10.0.1.7/24", "fd00::7/64"}, Network: bus.Network{ID: "backid", Name: "back", Gateway: "10.0.1.1"}}
	p, err := k.Join(t.Context(), bus.AttachRequest{Network: "back"})
	if err != nil || p.Network != "back" || p.Addr4.String() != "10.0.1.7" || p.Addr6.String() != "fd00::7" || p.DNS != "10.0.1.1" {
		t.Errorf("place %+v, %v", p, err)
	}
	if p, err := k.Join(t.Context(), bus.AttachRequest{Network: "mine"}); p != nil || err != nil {
		t.Errorf("the engine's own network: %+v, %v", p, err)
	}
	n.answer = bus.Attachment{Unknown: true, Refused: "not found"}
	if p, err := k.Join(t.Context(), bus.AttachRequest{Network: "nowhere"}); p != nil || err != nil {
		t.Errorf("no network at all: %+v, %v", p, err)
	}
	n.answer = bus.Attachment{Refused: "network x not manually attachable"}
	if _, err := k.Join(t.Context(), bus.AttachRequest{Network: "x"}); !errors.Is(err, ErrRefused) {
		t.Errorf("refused: %v", err)
	}
	n.away = true
	if _, err := k.Join(t.Context(), bus.AttachRequest{Network: "x"}); !errors.Is(err, bus.ErrNoManager) {
		t.Errorf("without managers: %v", err)
	}
}
