// Package conformance holds orch against dockerd's own swarm mode: scenarios of CLI commands and raw API requests run against
// both, step by step, and what a user or client sees has to be the same once identifiers, times and addresses are taken out.
//
// It owns the scenarios (testdata/*.txt) and how answers are compared. The differences that are meant stand in
// docs/clients.md, each with its reason, and are read from there: a step that differs and is not listed fails, and so does
// a listed step that agrees.
package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A Scenario is a conversation with a new cluster.
type Scenario struct {
	Name  string
	Short bool // part of every test run, not only of make conformance
	Steps []Step
}

// A Step is one command line or request:
//
//	docker service ls | sort                      a command line, run by a shell on the host
//	GET /services?status=true                     a request; its body is the rest of the line, or the indented lines that follow
//	await /2\/2/ docker service ls                a step that is repeated until its answer matches
//	sorted GET /tasks                             a step whose lines, or list, come in any order
//	eventually docker service ps web              a step that is repeated until both sides agree
//
// Indented lines continue a step. Those of a request that begin with @ are headers.
type Step struct {
	Text       string // as it is listed and told of
	Until      *regexp.Regexp
	Eventually bool
	Sorted     bool
	Method     string // "" is a command line
	Path       string
	Body       string
	Header     map[string]string
}

var (
	awaitStep = regexp.MustCompile(`^await /(.+?)/ (.+)$`)
	request   = regexp.MustCompile(`(?s)^(GET|POST|PUT|DELETE|HEAD|OPTIONS) (\S+)\s*(.*)$`)
)

// Load reads all scenarios of a directory.
func Load(dir string) ([]Scenario, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var all []Scenario
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		s, err := Parse(strings.TrimSuffix(filepath.Base(path), ".txt"), string(raw))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// Parse reads a scenario.
func Parse(name, text string) (Scenario, error) {
	s := Scenario{Name: name}
	var block []string
	flush := func() error {
		if len(block) == 0 {
			return nil
		}
		step, err := parseStep(block)
		s.Steps, block = append(s.Steps, step), nil
		return err
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "\t") && len(block) > 0:
			block = append(block, line[1:])
			continue
		case line == "# short":
			s.Short = true
		}
		if err := flush(); err != nil {
			return s, err
		}
		if line != "" && !strings.HasPrefix(line, "#") {
			block = []string{line}
		}
	}
	return s, flush()
}

func parseStep(block []string) (Step, error) {
	s := Step{Text: block[0]}
	head := block[0]
	if rest, ok := strings.CutPrefix(head, "sorted "); ok {
		s.Sorted, head = true, rest
	}
	if rest, ok := strings.CutPrefix(head, "eventually "); ok {
		s.Eventually, head = true, rest
	}
	if m := awaitStep.FindStringSubmatch(head); m != nil {
		until, err := regexp.Compile(m[1])
		if err != nil {
			return s, err
		}
		s.Until, head = until, m[2]
	}
	m := request.FindStringSubmatch(head)
	if m == nil {
		s.Body = strings.Join(slices.Concat([]string{head}, block[1:]), "\n")
		return s, nil
	}
	s.Method, s.Path, s.Body, s.Header = m[1], m[2], m[3], map[string]string{}
	for _, line := range block[1:] {
		if header, ok := strings.CutPrefix(line, "@"); ok {
			k, v, ok := strings.Cut(header, ": ")
			if !ok {
				return s, fmt.Errorf("%s: a header is @Key: value, not %q", s.Text, line)
			}
			s.Header[k] = v
			continue
		}
		s.Body += line + "\n"
	}
	return s, nil
}
