package compose

import "github.com/docker/docker/api/types/swarm"

// RunsOnce reports a replicated service whose tasks are not started again once they have ended well.
func RunsOnce(s swarm.Service) bool {
	p := s.Spec.TaskTemplate.RestartPolicy
	return s.Spec.Mode.Replicated != nil && p != nil && p.Condition != "" && p.Condition != swarm.RestartPolicyConditionAny
}

// Completed counts, by service, the slots whose latest task ended well. The API counts these for jobs alone, but a
// service that runs once has done its work all the same: with RunsOnce, they are not missing.
func Completed(tasks []swarm.Task) map[string]uint64 {
	type slot struct {
		service string
		number  int
	}
	latest := map[slot]swarm.Task{}
	for _, t := range tasks {
		k := slot{t.ServiceID, t.Slot}
		if old, ok := latest[k]; !ok || t.CreatedAt.After(old.CreatedAt) {
			latest[k] = t
		}
	}
	count := map[string]uint64{}
	for k, t := range latest {
		if t.Status.State == swarm.TaskStateComplete {
			count[k.service]++
		}
	}
	return count
}
