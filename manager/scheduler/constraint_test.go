package scheduler_test

import (
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"orch/internal/store"
	"orch/manager/scheduler"
)

func TestConstraintErrors(t *testing.T) {
	for expr, want := range map[string]string{
		"node.role":                  "constraint expected one operator from ==, !=",
		"node.role=manager":          "constraint expected one operator from ==, !=",
		"bad name==x":                "key 'bad name' is invalid",
		"==x":                        "key '' is invalid",
		"node.role==":                "value '' is invalid",
		"node.role == ":              "value '' is invalid",
		"node.labels.x==a>b":         "value 'a>b' is invalid",
		"node.labels.a == b":         "",
		"node.labels.x!=a b.c*/(d)?": "",
	} {
		got := ""
		if _, err := scheduler.ParseConstraints([]string{expr}); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", expr, got, want)
		}
	}
}

func TestConstraintMatch(t *testing.T) {
	n := node("abc", func(n *store.Node) {
		n.Spec.Labels = map[string]string{"Zone": "East"}
		n.Description.Engine.Labels = map[string]string{"storage": "ssd"}
		n.Status.Addr = "10.1.2.3"
		n.Spec.Role = swarm.NodeRoleManager
	})
	for expr, want := range map[string]bool{
		"node.id==abc": true, "node.id!=abc": false, "node.id==ab": false,
		"NODE.Hostname==HOST-ABC": true, "node.hostname!=other": true,
		"node.ip==10.1.2.3": true, "node.ip!=10.1.2.3": false, "node.ip==10.1.0.0/16": true,
		"node.ip!=10.1.0.0/16": false, "node.ip==10.2.0.0/16": false, "node.ip!=nonsense": false,
		"node.role==manager": true, "node.role!=Manager": false,
		"node.platform.os==linux": true, "node.platform.arch==x86_64": true, "node.platform.arch!=amd64": true,
		"node.labels.Zone==east": true, "node.labels.zone==east": false, "node.labels.missing!=x": true, "node.labels.missing==x": false,
		"engine.labels.storage==ssd": true, "engine.labels.storage!=ssd": false,
		"unknown.key==x": false, "unknown.key!=x": false, "node.labels.!=x": false,
	} {
		constraints, err := scheduler.ParseConstraints([]string{expr})
		if err != nil {
			t.Errorf("%q: %v", expr, err)
			continue
		}
		if got := constraints.Match(n); got != want {
			t.Errorf("%q is %v", expr, got)
		}
	}
}

func FuzzParseConstraints(f *testing.F) {
	f.Add("node.labels.a==b")
	f.Add("node.ip!=10.0.0.0/8")
	f.Fuzz(func(t *testing.T, expr string) {
		if constraints, err := scheduler.ParseConstraints([]string{expr}); err == nil {
			constraints.Match(node("n"))
		}
	})
}
