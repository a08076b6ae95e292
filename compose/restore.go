package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// NewRollback plans the way back to a revision of a stack: everything as that deploy left it, services that came later
// removed. Number 0 is the newest one before the current that went well.
func NewRollback(ctx context.Context, cli Client, stack string, number int) (*Plan, *Revision, error) {
	have, err := observe(ctx, cli, stack)
	if err != nil {
		return nil, nil, err
	}
	target, err := chooseRevision(have.revisions, stack, number)
	if err != nil {
		return nil, nil, err
	}
	rec, err := target.open()
	if err != nil {
		return nil, nil, err
	}
	want, err := rec.stack(stack)
	if err != nil {
		return nil, nil, fmt.Errorf("revision %d of stack %s: %w", target.Number, stack, err)
	}
	if err := rec.checkUses(have); err != nil {
		return nil, nil, fmt.Errorf("revision %d of stack %s: %w", target.Number, stack, err)
	}
	plan, err := diff(want, have, PlanOptions{Prune: true})
	return plan, target, err
}

// chooseRevision finds a revision by its number, or the one that a rollback means when none is given.
func chooseRevision(all []Revision, stack string, number int) (*Revision, error) {
	if len(all) == 0 {
		return nil, fmt.Errorf("stack %s has no history: it begins with its first `orch deploy`", stack)
	}
	if number != 0 {
		i := slices.IndexFunc(all, func(r Revision) bool { return r.Number == number })
		if i < 0 {
			return nil, fmt.Errorf("stack %s has no revision %d: the kept ones are %d to %d, see `orch history %s`", stack, number, all[len(all)-1].Number, all[0].Number, stack)
		}
		return &all[i], nil
	}
	current := slices.IndexFunc(all, func(r Revision) bool { return r.Current })
	for i := current + 1; i < len(all); i++ {
		if all[i].Outcome == OutcomeDone {
			return &all[i], nil
		}
	}
	return nil, fmt.Errorf("stack %s has no earlier revision that went well: choose one with `orch history %s`", stack, stack)
}

// stack makes of a record what Convert makes of a file.
func (rec *record) stack(name string) (*Stack, error) {
	s := &Stack{Name: name, Networks: rec.Networks}
	completes := map[string]bool{}
	for _, spec := range rec.Services {
		service := Service{Key: strings.TrimPrefix(spec.Name, name+"_"), Spec: spec}
		if text := spec.Labels[LabelDependsOn]; text != "" {
			if err := json.Unmarshal([]byte(text), &service.DependsOn); err != nil {
				return nil, fmt.Errorf("service %s: label %s: %w", spec.Name, LabelDependsOn, err)
			}
		}
		for dep, d := range service.DependsOn {
			completes[dep] = completes[dep] || d.Condition == types.ServiceConditionCompletedSuccessfully
		}
		s.Services = append(s.Services, service)
	}
	for i := range s.Services {
		m := s.Services[i].Spec.Mode
		s.Services[i].OneShot = completes[s.Services[i].Key] || m.ReplicatedJob != nil || m.GlobalJob != nil
	}
	return s, nil
}

// checkUses makes sure that the secrets and configs are still there: those of kept revisions are kept, but people can
// remove what no service uses.
func (rec *record) checkUses(have *state) error {
	for _, spec := range rec.Services {
		c := spec.TaskTemplate.ContainerSpec
		if c == nil {
			continue
		}
		for _, ref := range c.Secrets {
			if have.secretID(ref.SecretName) == "" {
				return fmt.Errorf("service %s needs secret %s, which has been removed: deploy from a compose file instead", spec.Name, ref.SecretName)
			}
		}
		for _, ref := range c.Configs {
			if have.configID(ref.ConfigName) == "" {
				return fmt.Errorf("service %s needs config %s, which has been removed: deploy from a compose file instead", spec.Name, ref.ConfigName)
			}
		}
	}
	return nil
}
