package feed

import (
	"bytes"
	"context"
	"io"
	"slices"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// oneService is an API with one service; what it is asked to change it keeps.
type oneService struct {
	client.APIClient
	service swarm.Service
	asked   swarm.ServiceUpdateOptions
	log     io.ReadCloser
}

func (o *oneService) ServiceInspectWithRaw(context.Context, string, swarm.ServiceInspectOptions) (swarm.Service, []byte, error) {
	return o.service, []byte(`{"ID":"s"}`), nil
}

func (o *oneService) ServiceUpdate(_ context.Context, _ string, _ swarm.Version, s swarm.ServiceSpec, opts swarm.ServiceUpdateOptions) (swarm.ServiceUpdateResponse, error) {
	o.service.Spec, o.asked = s, opts
	return swarm.ServiceUpdateResponse{}, nil
}

func (o *oneService) ServiceLogs(context.Context, string, container.LogsOptions) (io.ReadCloser, error) {
	return o.log, nil
}

func TestALogIsReadToItsEndWithAndWithoutHeaders(t *testing.T) {
	var framed bytes.Buffer
	stdcopy.NewStdWriter(&framed, stdcopy.Stdout).Write([]byte("one\ntwo\n"))
	stdcopy.NewStdWriter(&framed, stdcopy.Stderr).Write([]byte("three\n"))
	for name, body := range map[string]string{"framed": framed.String(), "terminal": "one\ntwo\nthree\n"} {
		l := OpenLog(t.Context(), &oneService{log: io.NopCloser(bytes.NewBufferString(body))}, "services", "s")
		var got []string
		for lines := range l.Lines {
			got = append(got, lines...)
		}
		l.Close()
		if d := cmp.Diff([]string{"one", "two", "three"}, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestChangesDoWhatTheySay(t *testing.T) {
	replicas := uint64(2)
	api := &oneService{}
	api.service.Spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &replicas}
	for _, c := range []Change{{Kind: Scale, Replicas: 5}, {Kind: Restart}, {Kind: Rollback}} {
		if err := Apply(t.Context(), api, c); err != nil {
			t.Fatal(err)
		}
	}
	if s := api.service.Spec; *s.Mode.Replicated.Replicas != 5 || s.TaskTemplate.ForceUpdate != 1 || api.asked.Rollback != "previous" {
		t.Errorf("spec %+v, options %+v", s, api.asked)
	}
	api.service.Spec.Mode = swarm.ServiceMode{Global: &swarm.GlobalService{}}
	if err := Apply(t.Context(), api, Change{Kind: Scale, Name: "g"}); err == nil {
		t.Error("a global service was scaled")
	}
}

func TestInspectIsIndented(t *testing.T) {
	got, err := Inspect(t.Context(), &oneService{}, "services", "s")
	if want := []string{"{", `  "ID": "s"`, "}"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}
