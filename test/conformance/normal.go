package conformance

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// varying is what differs between any two clusters, and what stands for it in a comparison.
var varying = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`(?s)-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?`), "<certificate>"},
	{regexp.MustCompile(`("?Index"?: ?)\d+`), "${1}<index>"},
	{regexp.MustCompile(`MFkw[0-9A-Za-z+/]+=*`), "<public key>"},
	{regexp.MustCompile(`Runtimes: .*`), "Runtimes: <in any order>"},
	{regexp.MustCompile(`127\.0\.0\.1:\d{5}\b`), "<local address>"},
	{regexp.MustCompile(`SWMTKN-1-[0-9a-z]+-[0-9a-z]+`), "<token>"},
	{regexp.MustCompile(`SWMKEY-1-[0-9A-Za-z+/]+`), "<unlock key>"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "<hex>"},
	{regexp.MustCompile(`\b[0-9a-z]{25}\b`), "<id>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?(Z|[+-]\d\d:?\d\d)( UTC)?)?`), "<time>"},
	{regexp.MustCompile(`(?i)\b(about )?(less than )?(a|an|\d+) (second|minute)s? ago\b`), "<ago>"},
	{regexp.MustCompile(`\b10\.2[0-3]\d\.0\.\d+\b`), "<host address>"},
	{regexp.MustCompile(`\bn[1-9]\b`), "<node>"},
	{regexp.MustCompile(`/\S+/orch-lab/\d+/n\d+/(docker|orch)\.sock`), "<socket>"},
	{regexp.MustCompile(`/\S+/orch-lab/\d+/n\d+`), "<dir>"},
	{regexp.MustCompile(`(?m)^[0-9a-z]{12}( |$)`), "<short id>$1"},
	{regexp.MustCompile(`  +`), "  "}, // the width of columns
}

// short are identifiers that the CLI has cut; words without a digit are none.
var short = regexp.MustCompile(`\b[0-9a-z]{12}\b`)

func normalText(text string) string {
	for _, v := range varying {
		text = v.what.ReplaceAllString(text, v.by)
	}
	text = short.ReplaceAllStringFunc(text, func(s string) string {
		if strings.ContainsAny(s, "0123456789") && strings.ContainsFunc(s, unicode.IsLetter) {
			return "<short id>"
		}
		return s
	})
	lines := strings.SplitAfter(text, "\n")
	for i := range lines {
		if strings.HasSuffix(lines[i], "\n") {
			lines[i] = strings.TrimRight(lines[i], " \n\r") + "\n"
		}
	}
	return strings.Join(lines, "")
}

func sortedLines(text string) string {
	lines := slices.Collect(strings.Lines(text))
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// normalBody is a body in a form that can be compared: JSON indented with its keys sorted, log frames as lines.
func normalBody(h http.Header, body []byte, sorted bool) string {
	if frames, ok := logFrames(body); ok {
		slices.Sort(frames) // those of several tasks come in any order
		return normalText(strings.Join(frames, ""))
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var b strings.Builder
	for {
		var v any
		err := dec.Decode(&v)
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			return normalText(string(body))
		}
		v = normalValue("", v)
		if list, ok := v.([]any); ok && sorted {
			slices.SortFunc(list, func(x, y any) int { return strings.Compare(indented(x), indented(y)) })
		}
		b.WriteString(indented(v) + "\n")
	}
}

func indented(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// numbers and texts are fields whose value says nothing about the API.
var numbers = map[string]bool{"PID": true, "time": true, "timeNano": true, "NFd": true, "NGoroutines": true, "NEventsListener": true, "Images": true, "Size": true, "LayersSize": true}

var texts = map[string]bool{"CertIssuerSubject": true, "CertIssuerPublicKey": true, "TrustRoot": true, "SystemTime": true, "SandboxID": true, "DockerRootDir": true}

func normalValue(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, field := range v {
			if k == "Index" && key != "JobIteration" { // Version
				v[k] = "<index>"
				continue
			}
			v[k] = normalValue(k, field)
		}
		return renamed(v)
	case []any:
		for i := range v {
			v[i] = normalValue(key, v[i])
		}
	case json.Number:
		if numbers[key] {
			return "<number>"
		}
	case string:
		if texts[key] && v != "" {
			return "<" + key + ">"
		}
		return normalText(v)
	}
	return v
}

// renamed normalises keys that are identifiers, such as those of a network's containers.
func renamed(v map[string]any) map[string]any {
	out := make(map[string]any, len(v))
	for k, field := range v {
		out[normalText(k)] = field
	}
	return out
}

// logFrames reads the frames of a log stream, one line each; false if it is none.
func logFrames(body []byte) (lines []string, ok bool) {
	for len(body) > 0 {
		if len(body) < 8 || body[0] > 2 || body[1] != 0 || body[2] != 0 || body[3] != 0 {
			return nil, false
		}
		size := int(binary.BigEndian.Uint32(body[4:8]))
		if size > len(body)-8 {
			return nil, false
		}
		lines = append(lines, fmt.Sprintf("%d %q\n", body[0], body[8:8+size]))
		body = body[8+size:]
	}
	return lines, len(lines) > 0
}
