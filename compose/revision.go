package compose

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/swarm"
)

// A revision is a swarm config: the API replicates it, keeps it and removes it with its stack, on orch and on Docker's swarm
// mode alike. Its data cannot change and says what was deployed; its labels can, and say what became of it.
const (
	labelRevision = "orch.revision"         // its number
	labelOutcome  = "orch.revision.outcome" // Outcome
	labelBy       = "orch.revision.by"
	labelMessage  = "orch.revision.message"
	labelSummary  = "orch.revision.summary"
	labelError    = "orch.revision.error"
	labelTook     = "orch.revision.took"
	labelUses     = "orch.revision.uses" // names of the secrets and configs that its services use, as JSON
)

const (
	// KeptRevisions is how many deploys of a stack are remembered.
	KeptRevisions = 20
	// maxRevision bounds what a revision unpacks to: a config's largest size, packed twenty times denser.
	maxRevision = 20 << 20
)

// Outcome is what became of a deploy.
type Outcome string

const (
	OutcomeRunning    Outcome = "running"     // not at its end yet
	OutcomeDone       Outcome = "done"        // every service as wanted
	OutcomeUnwatched  Outcome = "unwatched"   // written; nobody waited to see what became of it
	OutcomeLate       Outcome = "late"        // written, and not healthy in time
	OutcomeFailed     Outcome = "failed"      // and left as it was then
	OutcomeRolledBack Outcome = "rolled back" // failed, and taken back
	OutcomeBroken     Outcome = "interrupted" // the deploying process ended without a word
)

// Revision is one deploy of a stack.
type Revision struct {
	Stack   string        `json:"stack"`
	Number  int           `json:"revision"`
	Created time.Time     `json:"created"`
	By      string        `json:"by,omitempty"` // user@machine
	Message string        `json:"message,omitempty"`
	Summary string        `json:"summary"` // 1 created, 2 updated
	Outcome Outcome       `json:"outcome"`
	Error   string        `json:"error,omitempty"`
	Took    time.Duration `json:"took,omitempty"`
	// Current says that the stack is as this revision made it, as far as deploys go.
	Current bool `json:"current,omitempty"`

	uses   []string // secrets and configs, as markUsed names them
	config swarm.Config
}

// record is a revision's data: the whole stack as it was to be, and what that changed. Networks, secrets and configs are
// referred to by name, and no secret's content is in it.
type record struct {
	Networks []Network           `json:"networks,omitempty"`
	Services []swarm.ServiceSpec `json:"services"`
	Changes  []Change            `json:"changes"`
}

// IsRevision tells a revision from the configs that people have made.
func IsRevision(c swarm.Config) bool { return c.Spec.Labels[labelRevision] != "" }

// History lists the kept revisions of a stack, the newest first.
func History(ctx context.Context, cli Client, stack string) ([]Revision, error) {
	list, err := cli.ConfigList(ctx, swarm.ConfigListOptions{Filters: stackFilter(stack)})
	if err != nil {
		return nil, fmt.Errorf("list revisions: %w", err)
	}
	return Revisions(stack, list), nil
}

// Revisions finds a stack's revisions among configs, the newest first.
func Revisions(stack string, list []swarm.Config) []Revision {
	var out []Revision
	for _, c := range list {
		l := c.Spec.Labels
		n, err := strconv.Atoi(l[labelRevision])
		if err != nil || l[LabelNamespace] != stack {
			continue
		}
		r := Revision{Stack: stack, Number: n, Created: c.CreatedAt, By: l[labelBy], Message: l[labelMessage], Summary: l[labelSummary],
			Outcome: Outcome(l[labelOutcome]), Error: l[labelError], config: c}
		r.Took, _ = time.ParseDuration(l[labelTook])      // absent until the end
		_ = json.Unmarshal([]byte(l[labelUses]), &r.uses) // a label that somebody has broken uses nothing
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Revision) int { return b.Number - a.Number })
	for i := range out {
		if i > 0 && out[i].Outcome == OutcomeRunning {
			out[i].Outcome = OutcomeBroken
		}
	}
	if i := slices.IndexFunc(out, Revision.stands); i >= 0 {
		out[i].Current = true
	}
	return out
}

// stands reports a revision that was not taken back.
func (r Revision) stands() bool { return r.Outcome != OutcomeRolledBack }

// open unpacks a revision's data.
func (r Revision) open() (*record, error) {
	z, err := gzip.NewReader(bytes.NewReader(r.config.Spec.Data))
	if err != nil {
		return nil, fmt.Errorf("revision %d of stack %s cannot be read: %w", r.Number, r.Stack, err)
	}
	var rec record
	if err := json.NewDecoder(io.LimitReader(z, maxRevision)).Decode(&rec); err != nil {
		return nil, fmt.Errorf("revision %d of stack %s cannot be read: %w", r.Number, r.Stack, err)
	}
	return &rec, nil
}

// Changes is what the deploy was to change.
func (r Revision) Changes() ([]Change, error) {
	rec, err := r.open()
	if err != nil {
		return nil, err
	}
	return rec.Changes, nil
}
