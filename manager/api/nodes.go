package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

func (a *API) nodeRoutes() []route {
	return []route{
		{"GET", "/nodes", a.listNodes},
		{"POST", "/nodes/{id}/update", a.updateNode},
		{"GET", "/nodes/{id:.+}", a.inspectNode},
		{"DELETE", "/nodes/{id:.+}", a.removeNode},
	}
}

func (a *API) listNodes(w http.ResponseWriter, r *http.Request) error {
	args, err := filtersOf(r, "name", "id", "label", "role", "membership", "node.label")
	if err != nil {
		return err
	}
	if err := checkNodeFilters(args); err != nil {
		return err
	}
	bodies := [][]byte{}
	for _, n := range a.Store.View().Nodes(store.All()) {
		if !nodeMatches(n, args) {
			continue
		}
		body, err := a.encodeNode(r, n)
		if err != nil {
			return err
		}
		bodies = append(bodies, body)
	}
	writeList(w, bodies)
	return nil
}

// encodeNode is a node's JSON. How a manager fares is not in the state, which cannot be written just when it matters.
func (a *API) encodeNode(r *http.Request, n *store.Node) ([]byte, error) {
	if n.ManagerStatus == nil {
		return a.encoded.of(engineOf(r), store.KindNode, n.ID, n.Version.Index, n.Node)
	}
	out := n.Node
	out.ManagerStatus = a.managerStatus(n)
	return marshal(engineOf(r), out)
}

func (a *API) managerStatus(n *store.Node) *swarm.ManagerStatus {
	peer := a.Peer(n.ID)
	status := &swarm.ManagerStatus{Addr: n.ManagerStatus.Addr, Leader: peer.Leader, Reachability: swarm.ReachabilityUnreachable}
	if peer.Reachable {
		status.Reachability = swarm.ReachabilityReachable
	}
	return status
}

func checkNodeFilters(args filters.Args) error {
	for _, role := range args.Get("role") {
		if !strings.EqualFold(role, "worker") && !strings.EqualFold(role, "manager") && role != "" {
			return invalid("Invalid role filter: '%s'", role).before(v23, "Invalid role filter: '%s'", role).once(errdefs.ErrUnknown)
		}
	}
	for _, m := range args.Get("membership") {
		if !strings.EqualFold(m, "accepted") && !strings.EqualFold(m, "pending") && m != "" {
			return invalid("Invalid membership filter: '%s'", m).before(v23, "Invalid membership filter: '%s'", m).once(errdefs.ErrUnknown)
		}
	}
	return nil
}

func nodeMatches(n *store.Node, args filters.Args) bool {
	role := len(args.Get("role")) == 0
	for _, want := range args.Get("role") {
		role = role || strings.EqualFold(want, string(n.Spec.Role))
	}
	member := len(args.Get("membership")) == 0
	for _, want := range args.Get("membership") {
		member = member || strings.EqualFold(want, "accepted") // who has not been is not in the store
	}
	return role && member && prefixed(args, "name", n.Description.Hostname) && prefixed(args, "id", n.ID) &&
		labelled(args, "label", n.Description.Engine.Labels) && labelled(args, "node.label", n.Spec.Labels)
}

func (a *API) inspectNode(w http.ResponseWriter, r *http.Request) error {
	n, err := findNode(a.Store.View(), id(r))
	if err != nil {
		return err
	}
	body, err := a.encodeNode(r, n)
	if err != nil {
		return err
	}
	writeBody(w, http.StatusOK, body)
	return nil
}

func (a *API) updateNode(w http.ResponseWriter, r *http.Request) error {
	var spec swarm.NodeSpec
	if err := decode(r, &spec); err != nil {
		return err
	}
	index, err := version(r, "node")
	if err != nil {
		return err
	}
	if err := checkNode(&spec); err != nil {
		return err
	}
	return done(w, a.Store.Update(r.Context(), func(tx *store.Tx) error {
		n, err := findNode(&tx.View, id(r))
		if err != nil {
			return err
		}
		if n.Version.Index != index {
			return errOutOfSequence
		}
		if n.Spec.Role == swarm.NodeRoleManager && spec.Role == swarm.NodeRoleWorker {
			if err := a.checkDemotion(&tx.View, n); err != nil {
				return err
			}
		}
		next := *n
		next.Spec = spec
		if c := tx.Cluster(); c != nil && spec.Labels[store.AcceptLabel] == store.AcceptPresent {
			next.Spec.Labels = maps.Clone(spec.Labels)
			next.Spec.Labels[store.AcceptLabel] = c.Present()
		}
		tx.Put(&next)
		return nil
	}))
}

// checkNode refuses values that Swarm has no name for; it takes them in any case.
func checkNode(spec *swarm.NodeSpec) error {
	role, availability := swarm.NodeRole(strings.ToLower(string(spec.Role))), swarm.NodeAvailability(strings.ToLower(string(spec.Availability)))
	switch role {
	case swarm.NodeRoleWorker, swarm.NodeRoleManager:
	default:
		return invalid("invalid Role: %q", spec.Role)
	}
	switch availability {
	case swarm.NodeAvailabilityActive, swarm.NodeAvailabilityPause, swarm.NodeAvailabilityDrain:
	default:
		return invalid("invalid Availability: %q", spec.Availability)
	}
	spec.Role, spec.Availability = role, availability
	spec.Labels = orEmpty(spec.Labels)
	return nil
}

// checkDemotion refuses to take away the last manager, or one without which the others are no majority.
func (a *API) checkDemotion(v *store.View, n *store.Node) error {
	if managers(v) == 1 {
		return remote(errdefs.ErrFailedPrecondition, "attempting to demote the last manager of the swarm")
	}
	if n.ManagerStatus == nil {
		return nil // it never became one
	}
	left, reachable := 0, 0
	for _, other := range v.Nodes(store.All()) {
		if other.ID == n.ID || other.ManagerStatus == nil {
			continue
		}
		left++
		if a.Peer(other.ID).Reachable {
			reachable++
		}
	}
	if reachable <= left/2 {
		return remote(errdefs.ErrFailedPrecondition, "can't remove member from the raft: this would result in a loss of quorum")
	}
	return nil
}

func managers(v *store.View) int {
	count := 0
	for _, n := range v.Nodes(store.All()) {
		if n.Spec.Role == swarm.NodeRoleManager {
			count++
		}
	}
	return count
}

func (a *API) removeNode(w http.ResponseWriter, r *http.Request) error {
	force := flag(r, "force")
	return done(w, a.Store.Update(r.Context(), func(tx *store.Tx) error {
		n, err := findNode(&tx.View, id(r))
		switch {
		case err != nil:
			return err
		case n.Spec.Role == swarm.NodeRoleManager || n.Server != "":
			return remote(errdefs.ErrFailedPrecondition, "node %s is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal", n.ID)
		case !force && n.Status.State != swarm.NodeStateDown:
			return remote(errdefs.ErrFailedPrecondition, "node %s is not down and can't be removed", n.ID)
		}
		orphan(tx, n.ID)
		tx.Delete(n)
		if c := tx.Cluster(); c != nil {
			cut := *c
			cut.Removed = append(slices.Clone(c.Removed), n.ID)
			tx.Put(&cut)
		}
		return nil
	}))
}

// orphan gives up the tasks of a node that is no longer one.
func orphan(tx *store.Tx, node string) {
	for _, t := range tx.Tasks(store.OnNode(node)) {
		if t.Ended() {
			continue
		}
		next := *t
		next.Status.State, next.Status.Timestamp = swarm.TaskStateOrphaned, tx.Now()
		next.Status.Message = "Task belonged to a node that has been deleted"
		next.AppliedAt = tx.Now()
		tx.Put(&next)
	}
}
