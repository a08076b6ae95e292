package api

import (
	"net/http"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
)

func (a *API) serviceRoutes() []route {
	return []route{
		{"GET", "/services", a.listServices},
		{"POST", "/services/create", a.createService},
		{"POST", "/services/{id}/update", a.updateService},
		{"GET", "/services/{id}/logs", a.serviceLogs},
		{"GET", "/services/{id:.+}", a.inspectService},
		{"DELETE", "/services/{id:.+}", a.removeService},
	}
}

func (a *API) listServices(w http.ResponseWriter, r *http.Request) error {
	args, err := filtersOf(r, "name", "id", "label", "mode", "runtime")
	if err != nil {
		return err
	}
	status, err := strictFlag(r, "status")
	if err != nil {
		return err
	}
	v := a.Store.View()
	if status {
		list := []swarm.Service{}
		for _, s := range servicesMatching(v, args) {
			c := s.Service
			c.ServiceStatus = serviceStatus(s, v.Tasks(store.OfService(s.ID)))
			list = append(list, c)
		}
		return show(w, r, list)
	}
	bodies := [][]byte{}
	for _, s := range servicesMatching(v, args) {
		body, err := a.encoded.of(engineOf(r), store.KindService, s.ID, s.Version.Index, s.Service)
		if err != nil {
			return err
		}
		bodies = append(bodies, body)
	}
	writeList(w, bodies)
	return nil
}

func servicesMatching(v *store.View, args filters.Args) (matching []*store.Service) {
	for _, s := range v.Services(store.All()) {
		if prefixed(args, "name", s.Spec.Name) && prefixed(args, "id", s.ID) && labelled(args, "label", s.Spec.Labels) &&
			oneOf(args, "mode", modeName(s.Spec.Mode)) && oneOf(args, "runtime", string(s.Spec.TaskTemplate.Runtime)) {
			matching = append(matching, s)
		}
	}
	return matching
}

func modeName(m swarm.ServiceMode) string {
	switch {
	case m.Global != nil:
		return "global"
	case m.ReplicatedJob != nil:
		return "replicated-job"
	case m.GlobalJob != nil:
		return "global-job"
	}
	return "replicated"
}

// serviceStatus counts a service's tasks as Swarm does; those of its old specs
// count, too, those of a job's old iterations do not.
func serviceStatus(s *store.Service, tasks []*store.Task) *swarm.ServiceStatus {
	st := &swarm.ServiceStatus{}
	job := s.Spec.Mode.ReplicatedJob != nil || s.Spec.Mode.GlobalJob != nil
	for _, t := range tasks {
		if job && !ofIteration(t, s) {
			continue
		}
		if t.Status.State == swarm.TaskStateRunning {
			st.RunningTasks++
		}
		if job && t.Status.State == swarm.TaskStateComplete {
			st.CompletedTasks++
		}
		switch {
		case s.Spec.Mode.Global != nil && t.DesiredState == swarm.TaskStateRunning,
			s.Spec.Mode.GlobalJob != nil && t.DesiredState == swarm.TaskStateComplete && t.Status.State != swarm.TaskStateComplete:
			st.DesiredTasks++
		}
	}
	switch m := s.Spec.Mode; {
	case m.Replicated != nil && m.Replicated.Replicas != nil:
		st.DesiredTasks = *m.Replicated.Replicas
	case m.ReplicatedJob != nil && m.ReplicatedJob.MaxConcurrent != nil:
		st.DesiredTasks = *m.ReplicatedJob.MaxConcurrent
	}
	return st
}

func ofIteration(t *store.Task, s *store.Service) bool {
	var of, now uint64
	if t.JobIteration != nil {
		of = t.JobIteration.Index
	}
	if s.JobStatus != nil {
		now = s.JobStatus.JobIteration.Index
	}
	return of == now
}

func (a *API) inspectService(w http.ResponseWriter, r *http.Request) error {
	defaults, err := strictFlag(r, "insertDefaults")
	if err != nil {
		return err
	}
	s, err := findService(a.Store.View(), id(r))
	if err != nil {
		return err
	}
	if defaults {
		c := s.Service
		c.Spec = withDefaults(c.Spec)
		return show(w, r, c)
	}
	return a.object(w, r, store.KindService, s.ID, s.Version.Index, s.Service)
}

func (a *API) removeService(w http.ResponseWriter, r *http.Request) error {
	return done(w, a.Store.Update(r.Context(), func(tx *store.Tx) error {
		s, err := findService(&tx.View, id(r))
		if err != nil {
			return err
		}
		tx.Delete(s)
		return nil
	}))
}
