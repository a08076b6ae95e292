package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"
)

// Action is what a plan does to an object.
type Action string

const (
	Create    Action = "create"
	Update    Action = "update"
	Replace   Action = "replace" // removed and created anew: the mode of a service cannot change
	Delete    Action = "remove"
	Unchanged Action = "unchanged"
)

// Kind is the kind of object a change is about.
type Kind string

const (
	KindNetwork Kind = "network"
	KindSecret  Kind = "secret"
	KindConfig  Kind = "config"
	KindService Kind = "service"
)

// Field is one difference, by its path in Docker's type.
type Field struct {
	Path string `json:"path"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// Change is what happens to one object.
type Change struct {
	Kind     Kind    `json:"kind"`
	Name     string  `json:"name"`
	Action   Action  `json:"action"`
	Fields   []Field `json:"fields,omitempty"`
	Restarts bool    `json:"restarts,omitempty"` // tasks that run are replaced

	id    string
	force bool // its tasks are replaced though its specification stays as it is
}

// Plan is the difference between a stack as wanted and as it is. It can be applied once.
type Plan struct {
	Stack    string    `json:"stack"`
	Changes  []Change  `json:"changes"`
	Warnings []Warning `json:"warnings,omitempty"`

	want *Stack
	have *state
}

// PlanOptions change what a plan covers.
type PlanOptions struct {
	// Prune removes services, networks, secrets and configs of the stack that its file no longer has.
	Prune bool
}

// NewPlan compares want with what the server has. It only reads. Objects that the file takes for granted and the server
// lacks are an error.
func NewPlan(ctx context.Context, cli Client, want *Stack, o PlanOptions) (*Plan, error) {
	have, err := observe(ctx, cli, want.Name)
	if err != nil {
		return nil, err
	}
	return diff(want, have, o)
}

// Empty reports whether applying the plan would write nothing.
func (p *Plan) Empty() bool {
	return !slices.ContainsFunc(p.Changes, func(c Change) bool { return c.Action != Unchanged })
}

// diff is the pure heart of NewPlan.
func diff(want *Stack, have *state, o PlanOptions) (*Plan, error) {
	p := &Plan{Stack: want.Name, want: want, have: have, Warnings: slices.Clone(want.Warnings)}
	p.downgrade()
	if err := checkExternal(want, have); err != nil {
		return nil, err
	}
	if err := p.networks(); err != nil {
		return nil, err
	}
	if err := p.secretsAndConfigs(); err != nil {
		return nil, err
	}
	for _, s := range want.Services {
		p.Changes = append(p.Changes, p.service(s))
	}
	p.restartDependents()
	p.removals(o.Prune)
	p.warnTarget()
	return p, nil
}

func checkExternal(want *Stack, have *state) error {
	for _, name := range want.ExternalNetworks {
		if !have.hasNetwork(name) {
			return fmt.Errorf("network %q is declared as external, but does not exist: create it with `docker network create -d overlay %s`", name, name)
		}
	}
	for _, name := range want.ExternalSecrets {
		if have.secretID(name) == "" {
			return fmt.Errorf("secret %q is declared as external, but does not exist: create it with `docker secret create %s FILE`", name, name)
		}
	}
	for _, name := range want.ExternalConfigs {
		if have.configID(name) == "" {
			return fmt.Errorf("config %q is declared as external, but does not exist: create it with `docker config create %s FILE`", name, name)
		}
	}
	return nil
}

func (p *Plan) networks() error {
	for _, n := range p.want.Networks {
		c := Change{Kind: KindNetwork, Name: n.Name, Action: Create}
		for _, old := range p.have.networks {
			if old.Name != n.Name {
				continue
			}
			if ns := old.Labels[LabelNamespace]; ns != p.Stack {
				return fmt.Errorf("network %q exists and does not belong to stack %s: declare it as external, or give it another name", n.Name, p.Stack)
			}
			c.Action, c.id = Unchanged, old.ID
			if fields := networkFields(n.Options, old); len(fields) > 0 {
				p.Warnings = append(p.Warnings, Warning{Key: "networks." + p.want.Short(n.Name),
					Text: fmt.Sprintf("a network cannot be changed while it is in use: %s; remove the stack first, or give the network another name", fieldsText(fields))})
			}
		}
		p.Changes = append(p.Changes, c)
	}
	return nil
}

func (p *Plan) secretsAndConfigs() error {
	for _, s := range p.want.Secrets {
		c := Change{Kind: KindSecret, Name: s.Name, Action: Create}
		for _, old := range p.have.secrets {
			if old.Spec.Name != s.Name {
				continue
			}
			if d := old.Spec.Labels[LabelContent]; d != "" && s.Labels[LabelContent] != d {
				return fmt.Errorf("secret %q exists with other content, and a secret cannot be changed: give it another `name:`, or none, so that it is named by its content", s.Name)
			}
			c.Action, c.id = Unchanged, old.ID
		}
		p.Changes = append(p.Changes, c)
	}
	for _, s := range p.want.Configs {
		c := Change{Kind: KindConfig, Name: s.Name, Action: Create}
		for _, old := range p.have.configs {
			if old.Spec.Name != s.Name {
				continue
			}
			if string(old.Spec.Data) != string(s.Data) {
				return fmt.Errorf("config %q exists with other content, and a config cannot be changed: give it another `name:`, or none, so that it is named by its content", s.Name)
			}
			c.Action, c.id = Unchanged, old.ID
		}
		p.Changes = append(p.Changes, c)
	}
	return nil
}

func (p *Plan) service(s Service) Change {
	c := Change{Kind: KindService, Name: s.Spec.Name, Action: Create}
	old := p.have.service(s.Spec.Name)
	if old == nil {
		return c
	}
	c.id = old.ID
	c.Fields = serviceFields(old.Spec, s.Spec, p.have.networkNames())
	switch {
	case len(c.Fields) == 0:
		c.Action = Unchanged
	case modeName(old.Spec.Mode) != modeName(s.Spec.Mode):
		c.Action, c.Restarts = Replace, true
	default:
		c.Action = Update
		c.Restarts = slices.ContainsFunc(c.Fields, restarts)
	}
	return c
}

// restartDependents replaces the tasks of services whose dependency's tasks are replaced, where their file asks for it with
// `restart: true`.
func (p *Plan) restartDependents() {
	byName := map[string]*Change{}
	for i := range p.Changes {
		if p.Changes[i].Kind == KindService {
			byName[p.Changes[i].Name] = &p.Changes[i]
		}
	}
	for again := true; again; {
		again = false
		for _, s := range p.want.Services {
			c := byName[s.Spec.Name]
			if c.Action == Create || c.Restarts {
				continue
			}
			for _, dep := range slices.Sorted(maps.Keys(s.DependsOn)) {
				on := byName[p.Stack+"_"+dep]
				if on == nil || !s.DependsOn[dep].Restart || !on.Restarts {
					continue
				}
				c.Action, c.Restarts, c.force, again = Update, true, true, true
				c.Fields = append(c.Fields, Field{Path: "TaskTemplate.ForceUpdate", New: "one more, as " + dep + " is restarted"})
				break
			}
		}
	}
}

// restarts follows Swarm: a task is out of date when its task template or its endpoint is, except for where it may run.
func restarts(f Field) bool {
	return strings.HasPrefix(f.Path, "TaskTemplate.") && !strings.HasPrefix(f.Path, "TaskTemplate.Placement.") || strings.HasPrefix(f.Path, "EndpointSpec.")
}

// removals lists what is left over. Secrets and configs that were named by content go when no service uses them, now, in the
// specification that its rollback would bring back, or in a kept revision; the rest goes only when asked for.
func (p *Plan) removals(prune bool) {
	wanted, used := map[string]bool{}, map[string]bool{}
	for _, c := range p.Changes {
		wanted[string(c.Kind)+c.Name] = true
		if old := p.have.service(c.Name); c.Kind == KindService && old != nil {
			markUsed(used, old.Spec)
			if c.Action == Unchanged && old.PreviousSpec != nil {
				markUsed(used, *old.PreviousSpec)
			}
		}
	}
	for i, r := range p.have.revisions {
		if i < KeptRevisions-1 && r.stands() { // this deploy will be one of those that are kept
			for _, name := range r.uses {
				used[name] = true
			}
		}
	}
	for _, s := range p.have.services {
		if wanted[string(KindService)+s.Spec.Name] {
			continue
		}
		if prune {
			p.Changes = append(p.Changes, Change{Kind: KindService, Name: s.Spec.Name, Action: Delete, id: s.ID})
			continue
		}
		markUsed(used, s.Spec)
		p.Warnings = append(p.Warnings, Warning{Text: fmt.Sprintf("service %s is not in the file any more and is left running; --prune removes it", s.Spec.Name)})
	}
	stale := func(kind Kind, name, id string, labels map[string]string) {
		byContent := labels[LabelContent] != "" && strings.HasSuffix(name, "-"+labels[LabelContent])
		if labels[LabelNamespace] == p.Stack && !wanted[string(kind)+name] && !used[string(kind)+name] && (prune || byContent) {
			p.Changes = append(p.Changes, Change{Kind: kind, Name: name, Action: Delete, id: id})
		}
	}
	for _, s := range p.have.secrets {
		stale(KindSecret, s.Spec.Name, s.ID, s.Spec.Labels)
	}
	for _, s := range p.have.configs {
		stale(KindConfig, s.Spec.Name, s.ID, s.Spec.Labels)
	}
	if prune {
		for _, n := range p.have.networks {
			stale(KindNetwork, n.Name, n.ID, n.Labels)
		}
	}
}

func markUsed(used map[string]bool, s swarm.ServiceSpec) {
	if s.TaskTemplate.ContainerSpec == nil {
		return
	}
	for _, r := range s.TaskTemplate.ContainerSpec.Secrets {
		used[string(KindSecret)+r.SecretName] = true
	}
	for _, r := range s.TaskTemplate.ContainerSpec.Configs {
		used[string(KindConfig)+r.ConfigName] = true
	}
}

// WriteText renders the plan for people: + create, ~ update, ± replace, - remove.
func (p *Plan) WriteText(w io.Writer) error {
	var b strings.Builder
	counts := map[Action]int{}
	for _, c := range p.Changes {
		counts[c.Action]++
	}
	WriteChanges(&b, p.Changes)
	if p.Empty() {
		fmt.Fprintf(&b, "stack %s: no changes (%d objects are as the file says)\n", p.Stack, counts[Unchanged])
	} else {
		restarting := ""
		if n := p.restarting(); n > 0 {
			restarting = fmt.Sprintf(" (%d with a restart)", n)
		}
		fmt.Fprintf(&b, "stack %s: %d to create, %d to update%s, %d to remove, %d unchanged\n", p.Stack, counts[Create], counts[Update]+counts[Replace], restarting, counts[Delete], counts[Unchanged])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// restarting counts the services whose tasks the plan replaces.
func (p *Plan) restarting() (n int) {
	for _, c := range p.Changes {
		if c.Restarts {
			n++
		}
	}
	return n
}

// WriteChanges renders what changes for people.
func WriteChanges(b *strings.Builder, changes []Change) {
	marks := map[Action]string{Create: "+", Update: "~", Replace: "±", Delete: "-"}
	for _, c := range changes {
		if c.Action == Unchanged {
			continue
		}
		fmt.Fprintf(b, "%s %s %s", marks[c.Action], c.Kind, c.Name)
		switch {
		case c.Restarts:
			b.WriteString("  (restarts its tasks)")
		case c.Action == Update:
			b.WriteString("  (in place)")
		}
		b.WriteString("\n")
		for _, f := range c.Fields {
			fmt.Fprintf(b, "    %s\n", f)
		}
	}
}

// String is `path: old -> new`.
func (f Field) String() string {
	switch {
	case f.Old == "":
		return fmt.Sprintf("%s: + %s", f.Path, f.New)
	case f.New == "":
		return fmt.Sprintf("%s: - %s", f.Path, f.Old)
	}
	return fmt.Sprintf("%s: %s -> %s", f.Path, f.Old, f.New)
}

func fieldsText(fields []Field) string {
	var parts []string
	for _, f := range fields {
		parts = append(parts, f.String())
	}
	return strings.Join(parts, ", ")
}

// WriteJSON renders the plan for programs.
func (p *Plan) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(p)
}
