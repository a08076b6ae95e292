package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
)

func TestPortsOfPutsNeighboursTogether(t *testing.T) {
	port := func(published, target uint32) swarm.PortConfig {
		return swarm.PortConfig{Protocol: "tcp", PublishedPort: published, TargetPort: target}
	}
	for want, ports := range map[string][]swarm.PortConfig{
		"":                                 nil,
		"8080->80/tcp":                     {port(8080, 80)},
		"8080-8082->80-82/tcp":             {port(8082, 82), port(8080, 80), port(8081, 81)},
		"8080->80/tcp, 8081->99/tcp":       {port(8080, 80), port(8081, 99)},
		"0->80/tcp, 0->81/tcp":             {port(0, 80), port(0, 81)},
		"8080->80/tcp, 8082-8083->1-2/tcp": {port(8080, 80), port(8082, 1), port(8083, 2)},
	} {
		if got := portsOf(ports); got != want {
			t.Errorf("portsOf(%v) = %q, want %q", ports, got, want)
		}
	}
}

func TestTableAlignsColouredCells(t *testing.T) {
	var b bytes.Buffer
	err := table{header: []string{"A", "B"}, colour: true, rows: [][]cell{{tinted("ok", green), text("x")}, {{text: "0123456789abcdef", limit: idLength}, text("ÄÖ")}}}.write(&b)
	if err != nil {
		t.Fatal(err)
	}
	want := "\x1b[1mA\x1b[0m              \x1b[1mB\x1b[0m\n\x1b[32mok\x1b[0m             x\n0123456789ab   ÄÖ\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{errors.New("x"), exitFailed},
		{usagef("x"), exitUsage},
		{codeError{code: exitNotHealthy, err: usagef("x")}, exitNotHealthy},
		{context.Canceled, exitInterrupted},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("exitCode(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

func TestAuthFor(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString([]byte("me:pass:word"))
	config := []byte(`{"auths": {"registry.example.com": {"auth": "` + secret + `"}, "https://index.docker.io/v1/": {"auth": "` + secret + `"}}}`)
	for image, server := range map[string]string{
		"registry.example.com/a/b:1": "registry.example.com",
		"nginx":                      hubKey,
		"other.example.com/a":        "",
		"UPPER":                      "",
	} {
		got := authFor(config, image)
		if server == "" {
			if got != "" {
				t.Errorf("authFor(%q) = %q, want nothing", image, got)
			}
			continue
		}
		auth, err := registry.DecodeAuthConfig(got)
		if err != nil {
			t.Errorf("authFor(%q): %v", image, err)
			continue
		}
		if diff := cmp.Diff(registry.AuthConfig{Username: "me", Password: "pass:word", ServerAddress: server}, *auth); diff != "" {
			t.Errorf("authFor(%q): %s", image, diff)
		}
	}
}

func TestUnitQuotesWhatSystemdExpands(t *testing.T) {
	got := unit([]string{"/opt/a b/orch", "daemon", "--data-dir", "/var/100%/$x"})
	if want := `ExecStart="/opt/a b/orch" "daemon" "--data-dir" "/var/100%%/$$x"`; !strings.Contains(got, want) {
		t.Errorf("unit has no line %s:\n%s", want, got)
	}
}
