package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
	"orch/manager/orchestrator"
)

func (a *API) taskRoutes() []route {
	return []route{
		{"GET", "/tasks", a.listTasks},
		{"GET", "/tasks/{id}/logs", a.taskLogs},
		{"GET", "/tasks/{id:.+}", a.inspectTask},
	}
}

func (a *API) inspectTask(w http.ResponseWriter, r *http.Request) error {
	t, err := findTask(a.Store.View(), id(r))
	if err != nil {
		return err
	}
	return a.object(w, r, store.KindTask, t.ID, t.Version.Index, shownTask(t))
}

func (a *API) listTasks(w http.ResponseWriter, r *http.Request) error {
	args, err := filtersOf(r, "name", "id", "label", "service", "node", "desired-state", "_up-to-date", "runtime")
	if err != nil {
		return err
	}
	v := a.Store.View()
	q, err := newTaskQuery(v, args)
	if err != nil {
		return err
	}
	bodies := [][]byte{}
	for _, t := range q.candidates() {
		if !q.matches(t) {
			continue
		}
		body, err := a.encoded.of(engineOf(r), store.KindTask, t.ID, t.Version.Index, shownTask(t))
		if err != nil {
			return err
		}
		bodies = append(bodies, body)
	}
	writeList(w, bodies)
	return nil
}

// taskQuery is a list's filters, references resolved.
type taskQuery struct {
	view     *store.View
	args     filters.Args
	services []string
	nodes    []string
	upToDate bool
	byID     bool // the candidates are those of the filter by ID
}

func newTaskQuery(v *store.View, args filters.Args) (*taskQuery, error) {
	q := &taskQuery{view: v, args: args, upToDate: len(args.Get("_up-to-date")) > 0}
	for _, ref := range args.Get("service") {
		s, err := findService(v, ref)
		if err != nil {
			return nil, err
		}
		q.services = append(q.services, s.ID)
	}
	for _, ref := range args.Get("node") {
		n, err := findNode(v, ref)
		if err != nil {
			return nil, err
		}
		q.nodes = append(q.nodes, n.ID)
	}
	for _, s := range args.Get("desired-state") {
		if s != "" && store.Rank(swarm.TaskState(strings.ToLower(s))) < 0 {
			return nil, invalid("Invalid desired-state filter: '%s'", s).before(v23, "Invalid desired-state filter: '%s'", s).once(errdefs.ErrUnknown)
		}
	}
	return q, nil
}

// candidates are the tasks that the best index leads to.
func (q *taskQuery) candidates() (tasks []*store.Task) {
	switch {
	case len(q.services) > 0:
		slices.Sort(q.services)
		for _, id := range slices.Compact(q.services) {
			tasks = append(tasks, q.view.Tasks(store.OfService(id))...)
		}
	case len(q.nodes) > 0:
		slices.Sort(q.nodes)
		for _, id := range slices.Compact(q.nodes) {
			tasks = append(tasks, q.view.Tasks(store.OnNode(id))...)
		}
	case q.args.Contains("id"): // a client that follows events asks for hundreds at a time
		q.byID = true
		for _, id := range q.args.Get("id") {
			tasks = append(tasks, q.view.Tasks(store.IDPrefix(id))...)
		}
		slices.SortFunc(tasks, func(a, b *store.Task) int { return strings.Compare(a.ID, b.ID) })
		tasks = slices.Compact(tasks) // of an ID that begins another
	default:
		tasks = q.view.Tasks(store.All())
	}
	return tasks
}

func (q *taskQuery) matches(t *store.Task) bool {
	switch {
	case len(q.nodes) > 0 && !slices.Contains(q.nodes, t.NodeID),
		!q.desired(t), !q.runtime(t),
		!q.byID && !prefixed(q.args, "id", t.ID), !labelled(q.args, "label", t.ServiceLabels):
		return false
	}
	if len(q.args.Get("name")) > 0 && !prefixed(q.args, "name", taskName(t)) {
		return false
	}
	if !q.upToDate {
		return true
	}
	s := q.view.Service(t.ServiceID)
	return s != nil && !orchestrator.Dirty(s, t, q.view.Node(t.NodeID))
}

func (q *taskQuery) desired(t *store.Task) bool {
	values := q.args.Get("desired-state")
	return len(values) == 0 || slices.ContainsFunc(values, func(s string) bool { return strings.EqualFold(s, string(t.DesiredState)) })
}

// runtime: without a filter Swarm lists containers and plugins, and leaves out
// attachments.
func (q *taskQuery) runtime(t *store.Task) bool {
	is := t.Spec.Runtime
	if is == "" {
		is = swarm.RuntimeContainer
	}
	if values := q.args.Get("runtime"); len(values) > 0 {
		return slices.Contains(values, string(is))
	}
	return is != swarm.RuntimeNetworkAttachment
}

// taskName is the task's container's name.
func taskName(t *store.Task) string {
	if t.Slot == 0 {
		return fmt.Sprintf("%s.%s.%s", t.ServiceName, t.NodeID, t.ID)
	}
	return fmt.Sprintf("%s.%d.%s", t.ServiceName, t.Slot, t.ID)
}
