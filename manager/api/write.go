package api

import (
	"errors"
	"net/http"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/identity"
	"orch/internal/store"
	"orch/internal/strategy"
)

func (a *API) createService(w http.ResponseWriter, r *http.Request) error {
	var spec swarm.ServiceSpec
	if err := decode(r, &spec); err != nil {
		return err
	}
	if do := request(&spec); do != "" {
		return invalid("%s=%s is for an update that is under way", strategy.LabelDo, do)
	}
	id := identity.NewID()
	if spec.Name == "" {
		spec.Name = "service_" + id[:12]
	}
	if err := prepare(&spec); err != nil {
		return err
	}
	if err := checkAnnotations(spec.Annotations); err != nil {
		return err
	}
	auth := r.Header.Get(registry.AuthHeader)
	err := a.Store.Update(r.Context(), func(tx *store.Tx) error {
		s := &store.Service{Service: swarm.Service{ID: id, Spec: spec}, SpecVersion: 1}
		if err := resolve(tx, &s.Spec, id); err != nil {
			return err
		}
		if len(tx.Services(store.Name(spec.Name))) > 0 {
			return remote(errdefs.ErrAlreadyExists, "name conflicts with an existing object: service %s already exists", spec.Name)
		}
		if auth != "" {
			s.PullAuth = a.SealAuth(id, auth)
		}
		if isJob(spec.Mode) {
			s.JobStatus = &swarm.JobStatus{LastExecution: tx.Now()}
		}
		tx.Put(s)
		return nil
	})
	if err != nil {
		return err
	}
	return encode(w, http.StatusCreated, swarm.ServiceCreateResponse{ID: id})
}

func (a *API) updateService(w http.ResponseWriter, r *http.Request) error {
	var spec swarm.ServiceSpec
	if err := decode(r, &spec); err != nil {
		return err
	}
	index, err := version(r, "service")
	if err != nil {
		return err
	}
	do := request(&spec)
	if err := prepare(&spec); err != nil {
		return err
	}
	u := serviceUpdate{spec: spec, do: do, auth: r.Header.Get(registry.AuthHeader), authFrom: r.URL.Query().Get("registryAuthFrom"), seal: a.SealAuth}
	switch rollback := r.URL.Query().Get("rollback"); rollback {
	case "", "none":
	case "previous":
		u.rollback = true
	default:
		return errors.New("unrecognized rollback option " + rollback)
	}
	err = a.Store.Update(r.Context(), func(tx *store.Tx) error {
		s, err := findService(&tx.View, id(r))
		if err != nil {
			return err
		}
		if s.Version.Index != index {
			return errOutOfSequence
		}
		return u.apply(tx, s)
	})
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, swarm.ServiceUpdateResponse{})
}

// serviceUpdate is what an update asks for.
type serviceUpdate struct {
	spec     swarm.ServiceSpec
	do       string // what is asked of the update under way, instead of another
	auth     string
	authFrom string
	rollback bool
	seal     func(service, auth string) []byte
}

func (u *serviceUpdate) apply(tx *store.Tx, s *store.Service) error {
	next := *s
	if u.rollback {
		if s.PreviousSpec == nil {
			return remote(errdefs.ErrFailedPrecondition, "service %s does not have a previous spec", s.ID)
		}
		now := tx.Now()
		next.Spec, next.PullAuth = *s.PreviousSpec, s.PreviousPullAuth
		next.UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStateRollbackStarted, StartedAt: &now, Message: "manually requested rollback"}
	} else {
		if err := u.check(s); err != nil {
			return err
		}
		next.Spec = u.spec
		if err := resolve(tx, &next.Spec, s.ID); err != nil {
			return err
		}
		if u.do != "" {
			return steer(tx, s, next.Spec, u.do)
		}
		var err error
		if next.PullAuth, err = u.pullAuth(s); err != nil {
			return err
		}
		next.UpdateStatus = nil
	}
	previous := s.Spec
	next.PreviousSpec, next.PreviousPullAuth, next.PreviousSpecVersion = &previous, s.PullAuth, s.SpecVersion
	next.SpecVersion++
	next.Rollout = nil
	if isJob(next.Spec.Mode) {
		next.JobStatus = nextIteration(s.JobStatus)
		next.JobStatus.LastExecution = tx.Now()
	}
	tx.Put(&next)
	return nil
}

// check refuses what Swarm does not let an update change.
func (u *serviceUpdate) check(s *store.Service) error {
	if u.spec.Name != s.Spec.Name {
		return remote(errdefs.ErrNotImplemented, "renaming services is not supported")
	}
	if modeName(u.spec.Mode) != modeName(s.Spec.Mode) {
		return remote(errdefs.ErrNotImplemented, "service mode change is not allowed")
	}
	return nil
}

// pullAuth are the new spec's credentials: those that came with it, else those of
// the spec that it is made from.
func (u *serviceUpdate) pullAuth(s *store.Service) ([]byte, error) {
	if u.auth != "" {
		return u.seal(s.ID, u.auth), nil
	}
	switch u.authFrom {
	case "", swarm.RegistryAuthFromSpec:
		return s.PullAuth, nil
	case swarm.RegistryAuthFromPreviousSpec:
		if s.PreviousSpec == nil {
			return nil, errors.New("service does not have a previous spec")
		}
		return s.PreviousPullAuth, nil
	}
	return nil, errors.New("unsupported registryAuthFrom value")
}

func isJob(m swarm.ServiceMode) bool { return m.ReplicatedJob != nil || m.GlobalJob != nil }

func nextIteration(was *swarm.JobStatus) *swarm.JobStatus {
	next := &swarm.JobStatus{}
	if was != nil {
		next.JobIteration.Index = was.JobIteration.Index + 1
	}
	return next
}
