package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"orch/test/lab"
)

const (
	// stepLimit bounds one command or request; waitLimit what is repeated.
	stepLimit = 40 * time.Second
	waitLimit = 20 * time.Second
	// pause is between two tries of what is repeated.
	pause = 150 * time.Millisecond
)

// side is one of the two clusters: a host and the socket that speaks for its cluster.
type side struct {
	host   *lab.Host
	socket string
	http   *http.Client
}

func newSide(h *lab.Host, socket string) *side {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &side{host: h, socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// renew gives the side a new cluster, whatever it was in before.
func (s *side) renew(ctx context.Context) error {
	for _, r := range []struct{ path, body string }{
		{"/swarm/leave?force=1", ""},
		{"/swarm/init", fmt.Sprintf(`{"ListenAddr":"0.0.0.0:2377","AdvertiseAddr":%q}`, s.host.Addr)},
	} {
		status, _, body, err := s.request(ctx, http.MethodPost, r.path, r.body, nil)
		if err != nil || status != http.StatusOK && !bytes.Contains(body, []byte("not part of a swarm")) {
			return fmt.Errorf("POST %s on %s: %d %s %w", r.path, s.host.Name, status, body, err)
		}
	}
	return nil
}

// answer is all that the asker sees of a step, normalised. again says that the step is to be repeated.
func (s *side) answer(ctx context.Context, step Step) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	for {
		got, err := s.once(ctx, step)
		if err != nil || step.Until == nil || step.Until.MatchString(said(step, got)) {
			return got, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return got + "\n(waited in vain)", nil
		}
	}
}

// said is an answer without the exit code that ends a command's.
func said(step Step, answer string) string {
	if step.Method == "" {
		return answer[:max(0, strings.LastIndex(answer, "exit code "))]
	}
	return answer
}

func (s *side) once(ctx context.Context, step Step) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	if step.Method == "" {
		return s.command(ctx, step)
	}
	path, err := s.fill(ctx, step.Path)
	if err != nil {
		return "", err
	}
	body, err := s.fill(ctx, step.Body)
	if err != nil {
		return "", err
	}
	status, header, answer, err := s.request(ctx, step.Method, path, body, step.Header)
	if err != nil {
		return normalText(err.Error()), nil // a connection that is cut is an answer, too
	}
	return fmt.Sprintf("%d%s\n%s", status, headers(header), normalBody(header, answer, step.Sorted)), nil
}

func (s *side) command(ctx context.Context, step Step) (string, error) {
	line, err := s.fill(ctx, step.Body)
	if err != nil {
		return "", err
	}
	cmd := s.host.Command(ctx, "env", "DOCKER_HOST=unix://"+s.socket, "DOCKER_CLI_HINTS=false", "HOME="+s.host.Dir, "sh", "-c", "cd "+s.host.Dir+"; "+line)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		return "", fmt.Errorf("%s: %w", line, err)
	}
	text := normalText(out.String())
	if step.Sorted {
		text = sortedLines(text)
	}
	return fmt.Sprintf("%sexit code %d", text, cmd.ProcessState.ExitCode()), nil
}

func (s *side) request(ctx context.Context, method, path, body string, header map[string]string) (int, http.Header, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, answer, err
}

// lookup is {{/path#.Key.Key}}: a value that the side itself has.
var lookup = regexp.MustCompile(`\{\{(/[^#\s]+)#(\.[^}\s]+)\}\}`)

// fill puts in what is the side's own: its names, and values that it is asked for.
func (s *side) fill(ctx context.Context, text string) (string, error) {
	text = strings.NewReplacer("IMAGE", lab.Image, "NODE", s.host.Name, "ADDR", s.host.Addr).Replace(text)
	var failed error
	text = lookup.ReplaceAllStringFunc(text, func(m string) string {
		parts := lookup.FindStringSubmatch(m)
		status, _, body, err := s.request(ctx, http.MethodGet, parts[1], "", nil)
		if err != nil || status != http.StatusOK {
			failed = errors.Join(failed, fmt.Errorf("%s on %s: %d %s %w", m, s.host.Name, status, body, err))
			return m
		}
		v, err := pick(body, parts[2])
		failed = errors.Join(failed, err)
		return v
	})
	return text, failed
}

// pick is the value at a path of keys and positions; a string without its quotes.
func pick(body []byte, path string) (string, error) {
	raw := json.RawMessage(body)
	for _, key := range strings.Split(path, ".")[1:] {
		var object map[string]json.RawMessage
		var list []json.RawMessage
		if json.Unmarshal(raw, &object) == nil && object[key] != nil {
			raw = object[key]
		} else if n, err := strconv.Atoi(key); err == nil && json.Unmarshal(raw, &list) == nil && n < len(list) {
			raw = list[n]
		} else {
			return "", fmt.Errorf("no %s at %s in %s", key, path, body)
		}
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	return string(raw), nil
}

// told are the headers that clients act on.
var told = []string{"Api-Version", "Content-Type", "Docker-Experimental", "Ostype", "Builder-Version", "Swarm", "Server", "Cache-Control"}

func headers(h http.Header) string {
	var b strings.Builder
	for _, k := range slices.Sorted(slices.Values(told)) {
		if v := h.Get(k); v != "" {
			fmt.Fprintf(&b, "\n%s: %s", k, v)
		}
	}
	return b.String()
}
