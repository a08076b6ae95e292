package test

import (
	"os/exec"
	"strings"
	"testing"
)

// floors are what packages must not import: everything below is an import that docs/architecture.md rules out.
var floors = []struct {
	from  []string // the packages, and those below them
	never []string
	why   string
}{
	{[]string{"orch/compose", "orch/tui"}, []string{"orch/manager", "orch/worker", "orch/daemon", "orch/internal/bus", "orch/internal/store", "orch/internal/identity", "orch/internal/sim", "orch/cmd", "github.com/nats-io"},
		"front ends speak only the Docker API"},
	{[]string{"orch/cmd"}, []string{"orch/manager", "orch/worker", "orch/internal", "github.com/nats-io"},
		"the command line reaches the lower floors through the daemon alone"},
	{[]string{"orch/manager/orchestrator", "orch/manager/scheduler", "orch/manager/allocator"}, []string{"github.com/nats-io", "github.com/docker/docker/client", "orch/internal/store/jslog", "orch/worker"},
		"decisions are pure: no NATS, no Docker client"},
	{[]string{"orch/manager"}, []string{"orch/worker", "orch/daemon", "orch/compose", "orch/tui", "orch/cmd"}, "imports go down only"},
	{[]string{"orch/worker"}, []string{"orch/manager", "orch/daemon", "orch/compose", "orch/tui", "orch/cmd", "orch/internal/store"}, "imports go down only; a worker has no state but its assignments"},
	{[]string{"orch/daemon"}, []string{"orch/compose", "orch/tui", "orch/cmd"}, "imports go down only"},
	{[]string{"orch/internal/store", "orch/internal/bus", "orch/internal/identity"}, []string{"orch/manager", "orch/worker", "orch/daemon", "orch/compose", "orch/tui", "orch/cmd"}, "imports go down only"},
	{[]string{"orch/test/lab"}, []string{"orch/manager", "orch/worker", "orch/daemon", "orch/internal", "orch/compose"}, "hosts know nothing of what runs on them"},
}

func TestImportsGoDownOnly(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "orch/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	imports := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		imports[f[0]] = f[1:]
	}
	for _, floor := range floors {
		for pkg, direct := range imports {
			if !below(pkg, floor.from) {
				continue
			}
			for _, dep := range direct {
				if below(dep, floor.never) {
					t.Errorf("%s imports %s: %s", pkg, dep, floor.why)
				}
			}
		}
	}
}

func below(pkg string, roots []string) bool {
	for _, root := range roots {
		if pkg == root || strings.HasPrefix(pkg, root+"/") {
			return true
		}
	}
	return false
}
