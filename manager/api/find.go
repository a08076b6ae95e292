package api

import (
	"net/http"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"

	"orch/internal/store"
)

// find looks an object up as Swarm does: by ID, else by name, else by the
// beginning of the ID.
func find[T comparable](what, ref string, byID func(string) T, list func(store.By) []T) (none T, err error) {
	if ref == "" {
		return none, refuse(errdefs.ErrNotFound, "%s %s not found", what, ref)
	}
	if o := byID(ref); o != none {
		return o, nil
	}
	found := list(store.Name(ref))
	if len(found) == 0 {
		found = list(store.IDPrefix(ref))
	}
	switch len(found) {
	case 0:
		return none, refuse(errdefs.ErrNotFound, "%s %s not found", what, ref)
	case 1:
		return found[0], nil
	}
	return none, invalid("%s %s is ambiguous (%d matches found)", what, ref, len(found))
}

func findNode(v *store.View, ref string) (*store.Node, error) {
	return find("node", ref, v.Node, v.Nodes)
}

func findService(v *store.View, ref string) (*store.Service, error) {
	return find("service", ref, v.Service, v.Services)
}

// findTask knows a task by its name, too, which ends in its ID.
func findTask(v *store.View, ref string) (*store.Task, error) {
	if i := strings.LastIndexByte(ref, '.'); i >= 0 {
		if t := v.Task(ref[i+1:]); t != nil && taskName(t) == ref {
			return t, nil
		}
	}
	return find("task", ref, v.Task, v.Tasks)
}

func findSecret(v *store.View, ref string) (*store.Secret, error) {
	return find("secret", ref, v.Secret, v.Secrets)
}

func findConfig(v *store.View, ref string) (*store.Config, error) {
	return find("config", ref, v.Config, v.Configs)
}

func findNetwork(v *store.View, ref string) (*store.Network, error) {
	return find("network", ref, v.Network, v.Networks)
}

// prefixed says whether s begins with one of the filter's values, or there are none.
func prefixed(args filters.Args, key string, s string) bool {
	values := args.Get(key)
	for _, v := range values {
		if strings.HasPrefix(s, v) {
			return true
		}
	}
	return len(values) == 0
}

// oneOf says whether s is one of the filter's values, or there are none.
func oneOf(args filters.Args, key string, s string) bool {
	values := args.Get(key)
	for _, v := range values {
		if v == s {
			return true
		}
	}
	return len(values) == 0
}

// labelled says whether all of the filter's labels are there: key or key=value.
func labelled(args filters.Args, key string, labels map[string]string) bool {
	for _, want := range args.Get(key) {
		k, v, valued := strings.Cut(want, "=")
		have, ok := labels[k]
		if !ok || valued && v != "" && have != v {
			return false
		}
	}
	return true
}

// object answers with one object, in the encoding that is kept for it.
func (a *API) object(w http.ResponseWriter, r *http.Request, kind store.Kind, id string, index uint64, v any) error {
	body, err := a.encoded.of(engineOf(r), kind, id, index, v)
	if err != nil {
		return err
	}
	writeBody(w, http.StatusOK, body)
	return nil
}
