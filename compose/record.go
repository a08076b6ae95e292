package compose

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
)

const (
	// revisionTries bounds the search for a free number while others deploy the same stack.
	revisionTries = 10
	// maxLabel keeps a label a line: the whole error was shown when it happened.
	maxLabel = 300
)

// recordOf is what is to be remembered of a plan: the stack as it will be, services that the file no longer has and that
// are left running included.
func recordOf(p *Plan) record {
	rec := record{Networks: p.want.Networks}
	names := p.have.networkNames()
	gone := map[string]bool{}
	for _, c := range p.Changes {
		if c.Action != Unchanged {
			rec.Changes = append(rec.Changes, c)
		}
		gone[c.Name] = gone[c.Name] || c.Kind == KindService && c.Action == Delete
	}
	for _, s := range p.want.Services {
		spec := clone(s.Spec)
		if old := p.have.service(spec.Name); old != nil {
			keep(&spec, old.Spec)
		}
		rec.Services = append(rec.Services, spec)
	}
	for _, s := range p.have.services {
		if gone[s.Spec.Name] || slices.ContainsFunc(p.want.Services, func(w Service) bool { return w.Spec.Name == s.Spec.Name }) {
			continue
		}
		spec := clone(s.Spec)
		for i, n := range spec.TaskTemplate.Networks {
			if name, ok := names[n.Target]; ok {
				spec.TaskTemplate.Networks[i].Target = name
			}
		}
		rec.Services = append(rec.Services, spec)
	}
	return rec
}

func (rec record) uses() []string {
	used := map[string]bool{}
	for _, s := range rec.Services {
		markUsed(used, s)
	}
	return slices.Sorted(maps.Keys(used))
}

// spec is the config that holds a revision, all but its number.
func (rec record) spec(stack string, labels map[string]string) (swarm.ConfigSpec, error) {
	uses, err := json.Marshal(rec.uses())
	if err != nil {
		return swarm.ConfigSpec{}, err
	}
	labels[LabelNamespace], labels[labelUses], labels[labelSummary] = stack, string(uses), summary(rec.Changes)
	var data bytes.Buffer
	z := gzip.NewWriter(&data)
	if err := errors.Join(json.NewEncoder(z).Encode(rec), z.Close()); err != nil {
		return swarm.ConfigSpec{}, err
	}
	return swarm.ConfigSpec{Annotations: swarm.Annotations{Labels: labels}, Data: data.Bytes()}, nil
}

// revisionName is unique for a stack and number as long as the stack's name fits; of two longer ones that begin alike, one
// skips the other's numbers.
func revisionName(stack string, number int) string {
	const prefix, digits = "orch.revision.", 8
	return fmt.Sprintf("%s%s.%d", prefix, stack[:min(len(stack), maxObjectName-len(prefix)-1-digits)], number)
}

// summary is "1 created, 2 updated".
func summary(changes []Change) string {
	counts := map[Action]int{}
	for _, c := range changes {
		counts[c.Action]++
	}
	var parts []string
	for _, a := range []struct {
		action Action
		word   string
	}{{Create, "created"}, {Update, "updated"}, {Replace, "replaced"}, {Delete, "removed"}} {
		if n := counts[a.action]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, a.word))
		}
	}
	return strings.Join(parts, ", ")
}

// begin writes the revision of a deploy before anything else is written, and returns it.
func (r *rollout) begin(ctx context.Context) (*Revision, error) {
	labels := map[string]string{labelOutcome: string(OutcomeRunning), labelBy: r.o.By, labelMessage: line(r.o.Message)}
	spec, err := recordOf(r.plan).spec(r.plan.Stack, labels)
	if err != nil {
		return nil, fmt.Errorf("record the revision: %w", err)
	}
	number := 0
	if len(r.plan.have.revisions) > 0 {
		number = r.plan.have.revisions[0].Number
	}
	var id string
	for range revisionTries {
		number++
		spec.Name, labels[labelRevision] = revisionName(r.plan.Stack, number), strconv.Itoa(number)
		created, createErr := r.cli.ConfigCreate(ctx, spec)
		if id, err = created.ID, createErr; err == nil || !errdefs.IsConflict(err) && !errdefs.IsAlreadyExists(err) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("record the revision: %w", err)
	}
	return &Revision{Stack: r.plan.Stack, Number: number, config: swarm.Config{ID: id, Spec: spec}}, nil
}

// end notes what became of the deploy, and forgets revisions beyond the ones that are kept.
func (r *rollout) end(ctx context.Context, rev *Revision, o Outcome, took time.Duration, problem string) error {
	list, err := r.cli.ConfigList(ctx, swarm.ConfigListOptions{Filters: filters.NewArgs(filters.Arg("id", rev.config.ID))})
	if err != nil || len(list) != 1 {
		return fmt.Errorf("find revision %d of stack %s again: %w", rev.Number, rev.Stack, errors.Join(err, missing(list)))
	}
	spec := list[0].Spec
	spec.Labels = maps.Clone(spec.Labels)
	spec.Labels[labelOutcome], spec.Labels[labelTook] = string(o), took.Round(time.Millisecond).String()
	if problem != "" {
		spec.Labels[labelError] = line(problem)
	}
	if err := r.cli.ConfigUpdate(ctx, rev.config.ID, list[0].Version, spec); err != nil {
		return fmt.Errorf("note the outcome of revision %d of stack %s: %w", rev.Number, rev.Stack, err)
	}
	for i, old := range r.plan.have.revisions {
		if i < KeptRevisions-1 {
			continue
		}
		if err := r.cli.ConfigRemove(ctx, old.config.ID); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("forget revision %d of stack %s: %w", old.Number, old.Stack, err)
		}
	}
	return nil
}

func missing(list []swarm.Config) error {
	if len(list) == 0 {
		return errors.New("it is gone")
	}
	return nil
}

// line makes one short line of a text.
func line(s string) string {
	r := []rune(strings.Join(strings.Fields(s), " "))
	if len(r) > maxLabel {
		r = append(r[:maxLabel-1], '…')
	}
	return string(r)
}
