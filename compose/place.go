package compose

import (
	"errors"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// keyed is the part of an error's text that names a key: `services.web: `, `deploy.mode: `.
var keyed = regexp.MustCompile(`^([A-Za-z0-9_./-]+): `)

// place gives an error of Convert, whose text begins with the key that it is about, the place of that key.
func (p *Project) place(err error) error {
	if err == nil || errors.As(err, new(*LoadError)) {
		return err
	}
	text, key := err.Error(), ""
	for {
		m := keyed.FindStringSubmatch(text)
		if m == nil || key == "" && !strings.Contains(m[1], ".") {
			break
		}
		key, text = strings.TrimPrefix(key+"."+m[1], "."), text[len(m[0]):]
	}
	if key == "" {
		return err
	}
	e := &LoadError{Key: key, Text: text, err: err}
	if at := newPositions(p.files).find(key); at.line > 0 {
		e.File, e.Line, e.Column = at.file, at.line, at.column
	}
	return e
}

var (
	decoding  = regexp.MustCompile(`(?s)^decoding failed due to the following error\(s\):\s+'([^']+)' (.*)$`)
	overflow  = regexp.MustCompile(`^cannot parse value as 'uint\d*': (-\S+) overflows uint$`)
	bracketed = regexp.MustCompile(`\[([^\]]+)\]`)
	cyclic    = regexp.MustCompile(`^dependency cycle detected: (\S+) -> `)
	undefined = regexp.MustCompile(`^(depends on undefined service|refers to undefined \w+) "?([^":]+)"?$`)
	exclusive = regexp.MustCompile(`^service (\S+) (declares mutually exclusive .*)$`)
	bareKey   = regexp.MustCompile(`^([a-z_]+\.[a-z_]+) must `)
	nested    = regexp.MustCompile(`(?s)^construct errors:\s+line \d+: line (\d+): (.*)$`)
	badPort   = regexp.MustCompile(`^invalid (?:hostPort|containerPort|proto|port range|start port|end port)\S*:? (\S+)`)
)

// invalidPart ends many of compose-go's errors and says nothing.
const invalidPart = ": invalid compose project"

// reword takes apart those of compose-go's errors that name a key in the middle of their text.
func reword(text string) (key, rest string) {
	text = strings.TrimSuffix(text, invalidPart)
	if m := decoding.FindStringSubmatch(text); m != nil {
		rest = strings.TrimSpace(m[2])
		if o := overflow.FindStringSubmatch(rest); o != nil {
			rest = o[1] + " is negative"
		}
		return bracketed.ReplaceAllString(m[1], ".$1"), rest
	}
	if m := cyclic.FindStringSubmatch(text); m != nil {
		return "services." + m[1] + ".depends_on", text
	}
	if m := exclusive.FindStringSubmatch(text); m != nil {
		return "services." + m[1], m[2]
	}
	return "", text
}

// sharpen names the key below a service that an error is about, where its text tells.
func sharpen(key, text string) string {
	if m := undefined.FindStringSubmatch(strings.TrimSuffix(text, invalidPart)); m != nil {
		switch word := strings.TrimPrefix(m[1], "refers to undefined "); word {
		case "network", "secret", "config", "volume":
			return key + "." + word + "s"
		default:
			return key + ".depends_on"
		}
	}
	return key
}

// findValue looks for the one place where a text is written, for errors that name a value and no key.
func (p positions) findValue(value string) (at position, ok bool) {
	n := 0
	for _, f := range p {
		var walk func(*yaml.Node)
		walk = func(node *yaml.Node) {
			if node.Kind == yaml.ScalarNode && strings.Contains(node.Value, value) {
				at, n = position{f.file, node.Line, node.Column}, n+1
			}
			for _, c := range node.Content {
				walk(c)
			}
		}
		walk(f.root)
	}
	return at, n == 1
}

// onlyService completes a key below services when one service alone has it, for errors that name no service.
func (p positions) onlyService(key string) string {
	var found []string
	for _, f := range p {
		depth, services := descend(f.root, []string{"services"})
		if depth == 0 {
			continue
		}
		for _, name := range mapKeys(f.root, services) {
			path := "services." + name + "." + key
			if depth, _ := descend(f.root, strings.Split(path, ".")); depth == strings.Count(path, ".")+1 {
				found = append(found, path)
			}
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	return ""
}

// mapKeys are the keys of the mapping that stands at a key of its parent.
func mapKeys(parent, key *yaml.Node) (names []string) {
	for i := 0; i+1 < len(parent.Content); i += 2 {
		if parent.Content[i] != key {
			continue
		}
		for j := 0; j < len(parent.Content[i+1].Content); j += 2 {
			names = append(names, parent.Content[i+1].Content[j].Value)
		}
	}
	return names
}
