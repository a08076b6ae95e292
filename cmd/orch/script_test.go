package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"orch": func() { os.Exit(run()) }})
}

// Each script has a cluster of its own, on $ORCH_HOST.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			dir, err := os.MkdirTemp("", "orch") // a socket's path must be short
			if err != nil {
				return err
			}
			e.Defer(func() { os.RemoveAll(dir) })
			f := stocked()
			f.conflict = 1
			e.Setenv("ORCH_HOST", f.serve(t, dir))
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
	})
}
