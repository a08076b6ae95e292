package api

import (
	"bytes"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/versions"

	"orch/internal/store"
)

// fields are those of Docker's types that are written even if they are empty, and
// the version of the API that brought them: an older engine does not show them.
// They are cut out of the JSON: a text in it cannot hold a bare quote.
var fields = []struct {
	since string
	json  string
}{
	{"1.42", `,"Volumes":null`},           // of a task
	{"1.46", `,"NoNewPrivileges":false`},  // of a container's privileges
	{"1.46", `"NoNewPrivileges":false,`},  // the same, where it is the first
	{"1.48", `,"EnableIPv4":true`},        // of a network
	{"1.44", `,"CreateMountpoint":false`}, // of a bind mount
}

func asOf(e Engine, body []byte) []byte {
	for _, f := range fields {
		if versions.LessThan(e.APIVersion, f.since) {
			body = bytes.ReplaceAll(body, []byte(f.json), nil)
		}
	}
	return body
}

// shownTask is a task as dockerd shows it: that it is a container goes without saying.
func shownTask(t *store.Task) swarm.Task {
	c := t.Task
	c.Labels = orEmpty(c.Labels)
	if c.Spec.Runtime == swarm.RuntimeContainer {
		c.Spec.Runtime = ""
	}
	return c
}
