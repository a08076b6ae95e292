package api

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/identity"
	"orch/internal/store"
)

func (a *API) secretRoutes() []route {
	return []route{
		{"GET", "/secrets", a.listSecrets},
		{"POST", "/secrets/create", a.createSecret},
		{"POST", "/secrets/{id}/update", a.updateSecret},
		{"GET", "/secrets/{id:.+}", a.inspectSecret},
		{"DELETE", "/secrets/{id:.+}", a.removeSecret},
	}
}

const (
	maxSecretData = 500 << 10
	maxConfigData = 1000 << 10
)

var secretName = regexp.MustCompile(`^[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$`)

// checkSecretName holds the name of a secret or config to Swarm's form.
func checkSecretName(name string) error {
	switch {
	case name == "":
		return badSpec("name must be provided")
	case len(name) > 64 || !secretName.MatchString(name):
		return badSpec("invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]")
	}
	return nil
}

func (a *API) listSecrets(w http.ResponseWriter, r *http.Request) error {
	args, err := filtersOf(r, "names", "name", "id", "label")
	if err != nil {
		return err
	}
	list := []swarm.Secret{}
	for _, s := range a.Store.View().Secrets(store.All()) {
		if oneOf(args, "names", s.Spec.Name) && prefixed(args, "name", s.Spec.Name) && prefixed(args, "id", s.ID) && labelled(args, "label", s.Spec.Labels) {
			list = append(list, s.Secret)
		}
	}
	return encode(w, http.StatusOK, list)
}

func (a *API) inspectSecret(w http.ResponseWriter, r *http.Request) error {
	s, err := findSecret(a.Store.View(), id(r))
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, s.Secret)
}

func (a *API) createSecret(w http.ResponseWriter, r *http.Request) error {
	var spec swarm.SecretSpec
	if err := decode(r, &spec); err != nil {
		return err
	}
	if err := checkSecretName(spec.Name); err != nil {
		return err
	}
	if spec.Driver != nil && spec.Driver.Name != "" {
		return remote(errdefs.ErrUnknown, "plugin %q not found", spec.Driver.Name) // orch keeps secrets itself
	}
	if len(spec.Data) == 0 || len(spec.Data) >= maxSecretData {
		return badSpec("secret data must be larger than 0 and less than %d bytes", maxSecretData)
	}
	s := store.Secret{Secret: swarm.Secret{ID: identity.NewID(), Spec: spec}}
	s.Sealed = a.SealSecret(s.ID, spec.Data)
	s.Spec.Data, s.Spec.Labels = nil, orEmpty(spec.Labels)
	err := a.Store.Update(r.Context(), func(tx *store.Tx) error {
		if len(tx.Secrets(store.Name(spec.Name))) > 0 {
			return remote(errdefs.ErrAlreadyExists, "secret %s already exists", spec.Name)
		}
		next := s
		tx.Put(&next)
		return nil
	})
	if err != nil {
		return err
	}
	return encode(w, http.StatusCreated, swarm.SecretCreateResponse{ID: s.ID})
}

var errOnlyLabels = badSpec("only updates to Labels are allowed")

func (a *API) updateSecret(w http.ResponseWriter, r *http.Request) error {
	index, err := version(r, "secret")
	if err != nil {
		return invalid("invalid secret version")
	}
	var spec swarm.SecretSpec
	if err := decode(r, &spec); err != nil {
		return err
	}
	return done(w, a.Store.Update(r.Context(), func(tx *store.Tx) error {
		s, err := findSecret(&tx.View, id(r))
		if err != nil {
			return err
		}
		same, err := a.sameData(s, spec.Data)
		switch {
		case err != nil:
			return err
		case spec.Name != s.Spec.Name, !same:
			return errOnlyLabels
		case s.Version.Index != index:
			return errOutOfSequence
		}
		next := *s
		next.Spec.Labels = orEmpty(spec.Labels)
		tx.Put(&next)
		return nil
	}))
}

// sameData says whether a secret would stay what it is: docker stack deploy sends
// a stack's secrets again each time.
func (a *API) sameData(s *store.Secret, data []byte) (bool, error) {
	if len(data) == 0 {
		return true, nil
	}
	have, err := a.OpenSecret(s)
	if err != nil {
		return false, fmt.Errorf("open secret %s: %w", s.Spec.Name, err)
	}
	return subtle.ConstantTimeCompare(have, data) == 1, nil
}

// orEmpty are labels as dockerd shows them: none is an empty map.
func orEmpty(labels map[string]string) map[string]string {
	if labels == nil {
		return map[string]string{}
	}
	return labels
}

func (a *API) removeSecret(w http.ResponseWriter, r *http.Request) error {
	err := a.Store.Update(r.Context(), func(tx *store.Tx) error {
		s, err := findSecret(&tx.View, id(r))
		if err != nil {
			return err
		}
		users := users(&tx.View, func(c *swarm.ContainerSpec) bool {
			return slices.ContainsFunc(c.Secrets, func(ref *swarm.SecretReference) bool { return ref != nil && ref.SecretID == s.ID })
		})
		if err := inUse("secret", s.Spec.Name, users); err != nil {
			return err
		}
		tx.Delete(s)
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// users are the names of the services whose containers refer to something.
func users(v *store.View, refers func(*swarm.ContainerSpec) bool) []string {
	var names []string
	for _, s := range v.Services(store.All()) {
		if c := s.Spec.TaskTemplate.ContainerSpec; c != nil && refers(c) {
			names = append(names, s.Spec.Name)
		}
	}
	slices.Sort(names)
	return names
}

func inUse(what, name string, services []string) error {
	switch len(services) {
	case 0:
		return nil
	case 1:
		return badSpec("%s '%s' is in use by the following service: %s", what, name, services[0])
	}
	return badSpec("%s '%s' is in use by the following services: %s", what, name, strings.Join(services, ", "))
}
