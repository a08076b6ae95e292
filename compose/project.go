package compose

import (
	"fmt"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
)

// Project is a loaded compose file: files merged, variables resolved, profiles applied.
type Project struct {
	// Warnings names what the file asks for and a deploy does not do.
	Warnings []Warning

	model *types.Project
	files []types.ConfigFile // as read, to place what is found wrong later
}

// Warning says that something in a compose file has no effect, or not the effect that its author may expect.
type Warning struct {
	File string `json:"file,omitempty"` // as given; empty when no file is to blame
	Line int    `json:"line,omitempty"`
	Key  string `json:"key,omitempty"` // services.web.container_name
	Text string `json:"text"`
}

func (w Warning) String() string {
	s := w.Text
	if w.Key != "" {
		s = w.Key + ": " + s
	}
	if w.File != "" && w.Line > 0 {
		return fmt.Sprintf("%s:%d: %s", w.File, w.Line, s)
	}
	if w.File != "" {
		return w.File + ": " + s
	}
	return s
}

// Stack is the stack's name: the argument, else the file's `name:`, else the directory's.
func (p *Project) Stack() string { return p.model.Name }

// Services are the names of the enabled services, as written in the file, sorted.
func (p *Project) Services() []string {
	names := p.model.ServiceNames()
	slices.Sort(names)
	return names
}

// Model is compose-go's view of the project; callers must not change it.
func (p *Project) Model() *types.Project { return p.model }

// Marshal prints the resolved project in format "yaml" or "json". Contents of secrets are left out.
func (p *Project) Marshal(format string) ([]byte, error) {
	switch format {
	case "yaml", "":
		return p.model.MarshalYAML()
	case "json":
		return p.model.MarshalJSON()
	}
	return nil, fmt.Errorf("format %q: want yaml or json", format)
}
