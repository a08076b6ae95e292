package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/gorilla/mux"

	"orch/internal/bus"
	"orch/worker/attach"
)

// places is a keeper with one attachable network, "back", and one that is not.
type places struct {
	asked   []bus.AttachRequest
	dropped []string
}

func (p *places) Join(_ context.Context, r bus.AttachRequest) (*attach.Place, error) {
	p.asked = append(p.asked, r)
	switch r.Network {
	case "back", "backid":
		return &attach.Place{ID: "att1", Network: "back", Addr4: netip.MustParseAddr("10.0.1.5"), Addr6: netip.MustParseAddr("fd00::5"), DNS: "10.0.1.1"}, nil
	case "closed":
		return nil, fmt.Errorf("%w closed: rpc error: code = PermissionDenied desc = network closed not manually attachable", attach.ErrRefused)
	case "away":
		return nil, fmt.Errorf("%w away: %w", attach.ErrRefused, bus.ErrNoManager)
	}
	return nil, nil
}

func (p *places) Local(_ context.Context, ref string) string {
	if ref == "backid" {
		return "back"
	}
	return ""
}
func (p *places) Drop(ids ...string) { p.dropped = append(p.dropped, ids...) }
func (p *places) Look()              {}

// What dockerd is sent differs by the API version: only from 1.44 on has an endpoint a MAC address, which engines from 28 on
// otherwise choose at random.
func TestContainersAreSentToTheirPlace(t *testing.T) {
	for name, c := range map[string]struct {
		newest, path, body string
		status             int // dockerd's answer, 201 without
		wantPath, want     string
		refused            int
		dropped            bool
	}{
		"none of the cluster's": {path: "/v1.51/containers/create", body: `{"HostConfig":{"NetworkMode":"bridge"},"Big":12345678901234567890}`,
			want: `{"HostConfig":{"NetworkMode":"bridge"},"Big":12345678901234567890}`},
		"a local network": {path: "/v1.51/containers/create", body: `{"HostConfig":{"NetworkMode":"mine"}}`, want: `{"HostConfig":{"NetworkMode":"mine"}}`},
		"since 1.44": {path: "/v1.44/containers/create?name=x", body: `{"Image":"i","Big":12345678901234567890,"HostConfig":{"NetworkMode":"backid"},"NetworkingConfig":{"EndpointsConfig":{"backid":{"Aliases":["a"]}}}}`,
			want: `{"Big":12345678901234567890,"HostConfig":{"Dns":["10.0.1.1"],"NetworkMode":"back"},"Image":"i","NetworkingConfig":{"EndpointsConfig":{"back":{"Aliases":["a"],` +
				`"IPAMConfig":{"IPv4Address":"10.0.1.5","IPv6Address":"fd00::5"},"MacAddress":"02:42:0a:00:01:05"}}}}`},
		"before": {path: "/v1.41/containers/create", body: `{"HostConfig":{"NetworkMode":"back","Dns":["9.9.9.9"]}}`,
			want: `{"HostConfig":{"Dns":["9.9.9.9"],"NetworkMode":"back"},"MacAddress":"02:42:0a:00:01:05","NetworkingConfig":{"EndpointsConfig":{"back":{` +
				`"IPAMConfig":{"IPv4Address":"10.0.1.5","IPv6Address":"fd00::5"}}}}}`},
		"unversioned, old engine": {newest: "1.41", path: "/containers/create", body: `{"HostConfig":{"NetworkMode":"back"}}`,
			want: `{"HostConfig":{"Dns":["10.0.1.1"],"NetworkMode":"back"},"MacAddress":"02:42:0a:00:01:05","NetworkingConfig":{"EndpointsConfig":{"back":{` +
				`"IPAMConfig":{"IPv4Address":"10.0.1.5","IPv6Address":"fd00::5"}}}}}`},
		"no such image":        {path: "/v1.51/containers/create", body: `{"HostConfig":{"NetworkMode":"back"}}`, status: 404, dropped: true},
		"not attachable":       {path: "/v1.51/containers/create", body: `{"HostConfig":{"NetworkMode":"closed"}}`, refused: 403},
		"no manager":           {path: "/v1.51/containers/create", body: `{"HostConfig":{"NetworkMode":"away"}}`, refused: 503},
		"second is refused":    {path: "/v1.51/containers/create", body: `{"NetworkingConfig":{"EndpointsConfig":{"back":{},"closed":{}}}}`, refused: 403, dropped: true},
		"another MAC":          {path: "/v1.51/containers/create", body: `{"NetworkingConfig":{"EndpointsConfig":{"back":{"MacAddress":"02:00:00:00:00:01"}}}}`, refused: 400, dropped: true},
		"no JSON":              {path: "/v1.51/containers/create", body: `{`, want: `{`},
		"connect":              {path: "/v1.51/networks/backid/connect", body: `{"Container":"c"}`, wantPath: "/v1.51/networks/back/connect", want: `{"Container":"c","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10.0.1.5","IPv6Address":"fd00::5"},"MacAddress":"02:42:0a:00:01:05"}}`},
		"connect, old client":  {path: "/v1.40/networks/back/connect", body: `{"Container":"c"}`, wantPath: "/v1.44/networks/back/connect", want: `{"Container":"c","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10.0.1.5","IPv6Address":"fd00::5"},"MacAddress":"02:42:0a:00:01:05"}}`},
		"connect, old engine":  {newest: "1.41", path: "/v1.40/networks/back/connect", body: `{"Container":"c"}`, wantPath: "/v1.40/networks/back/connect", want: `{"Container":"c","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10.0.1.5","IPv6Address":"fd00::5"}}}`},
		"connect to the local": {path: "/v1.51/networks/mine/connect", body: `{"Container":"c"}`, want: `{"Container":"c"}`},
		"disconnect":           {path: "/v1.51/networks/backid/disconnect", body: `{"Container":"c"}`, wantPath: "/v1.51/networks/back/disconnect", want: `{"Container":"c"}`},
	} {
		t.Run(name, func(t *testing.T) {
			keeper := &places{}
			var path, body string
			a := &attachments{keeper: keeper, newest: orElse(c.newest, "1.51"), through: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				path, body = r.URL.Path, string(b)
				w.WriteHeader(max(c.status, 201))
			})}
			router := mux.NewRouter().SkipClean(true).UseEncodedPath()
			a.register(router)
			w := httptest.NewRecorder()
			router.ServeHTTP(w, httptest.NewRequest(http.MethodPost, c.path, strings.NewReader(c.body)))
			if c.refused != 0 {
				if w.Code != c.refused || !strings.Contains(w.Body.String(), `"message"`) || path != "" {
					t.Errorf("status %d: %s; dockerd saw %s", w.Code, w.Body, path)
				}
			} else if c.want != "" && body != c.want {
				t.Errorf("dockerd gets\n%s\nwant\n%s", body, c.want)
			}
			if c.wantPath != "" && path != c.wantPath {
				t.Errorf("dockerd is asked %s, want %s", path, c.wantPath)
			}
			if dropped := len(keeper.dropped) > 0; dropped != c.dropped {
				t.Errorf("places given back: %q", keeper.dropped)
			}
		})
	}
}

func TestRefusalsHaveDockersStatus(t *testing.T) {
	w := httptest.NewRecorder()
	refuse(w, errors.New("anything else"))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("status %d", w.Code)
	}
}
