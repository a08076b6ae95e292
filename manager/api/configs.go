package api

import (
	"net/http"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/identity"
	"orch/internal/store"
)

func (a *API) configRoutes() []route {
	return []route{
		{"GET", "/configs", a.listConfigs},
		{"POST", "/configs/create", a.createConfig},
		{"POST", "/configs/{id}/update", a.updateConfig},
		{"GET", "/configs/{id:.+}", a.inspectConfig},
		{"DELETE", "/configs/{id:.+}", a.removeConfig},
	}
}

func (a *API) listConfigs(w http.ResponseWriter, r *http.Request) error {
	args, err := filtersOf(r, "name", "id", "label")
	if err != nil {
		return err
	}
	list := []swarm.Config{}
	for _, c := range a.Store.View().Configs(store.All()) {
		if prefixed(args, "name", c.Spec.Name) && prefixed(args, "id", c.ID) && labelled(args, "label", c.Spec.Labels) {
			list = append(list, c.Config)
		}
	}
	return encode(w, http.StatusOK, list)
}

func (a *API) inspectConfig(w http.ResponseWriter, r *http.Request) error {
	c, err := findConfig(a.Store.View(), id(r))
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, c.Config)
}

func (a *API) createConfig(w http.ResponseWriter, r *http.Request) error {
	var spec swarm.ConfigSpec
	if err := decode(r, &spec); err != nil {
		return err
	}
	if err := checkSecretName(spec.Name); err != nil {
		return err
	}
	if len(spec.Data) == 0 || len(spec.Data) >= maxConfigData {
		return badSpec("config data must be larger than 0 and less than %d bytes", maxConfigData)
	}
	spec.Labels = orEmpty(spec.Labels)
	c := store.Config{Config: swarm.Config{ID: identity.NewID(), Spec: spec}}
	err := a.Store.Update(r.Context(), func(tx *store.Tx) error {
		if len(tx.Configs(store.Name(spec.Name))) > 0 {
			return remote(errdefs.ErrAlreadyExists, "config %s already exists", spec.Name)
		}
		next := c
		tx.Put(&next)
		return nil
	})
	if err != nil {
		return err
	}
	return encode(w, http.StatusCreated, swarm.ConfigCreateResponse{ID: c.ID})
}

func (a *API) updateConfig(w http.ResponseWriter, r *http.Request) error {
	index, err := version(r, "config")
	if err != nil {
		return invalid("invalid config version")
	}
	var spec swarm.ConfigSpec
	if err := decode(r, &spec); err != nil {
		return err
	}
	return done(w, a.Store.Update(r.Context(), func(tx *store.Tx) error {
		c, err := findConfig(&tx.View, id(r))
		switch {
		case err != nil:
			return err
		case spec.Name != c.Spec.Name, len(spec.Data) > 0 && !slices.Equal(spec.Data, c.Spec.Data):
			return errOnlyLabels
		case c.Version.Index != index:
			return errOutOfSequence
		}
		next := *c
		next.Spec.Labels = orEmpty(spec.Labels)
		tx.Put(&next)
		return nil
	}))
}

func (a *API) removeConfig(w http.ResponseWriter, r *http.Request) error {
	err := a.Store.Update(r.Context(), func(tx *store.Tx) error {
		c, err := findConfig(&tx.View, id(r))
		if err != nil {
			return err
		}
		users := users(&tx.View, func(spec *swarm.ContainerSpec) bool {
			return slices.ContainsFunc(spec.Configs, func(ref *swarm.ConfigReference) bool { return ref != nil && ref.ConfigID == c.ID })
		})
		if err := inUse("config", c.Spec.Name, users); err != nil {
			return err
		}
		tx.Delete(c)
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
