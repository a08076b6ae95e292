// Package compose turns a compose file into a running stack on anything that speaks the Docker API with Swarm services: orch,
// or Docker's own swarm mode.
//
// Data takes one way through it, and each step can be used alone:
//
//	Load     files           -> *Project   compose-go, plus every key accounted for (support.go)
//	Build    *Project        -> Images     build: through the Docker API
//	Convert  *Project        -> *Stack     pure: the swarm specs, in docker/cli's manner (same names, same labels)
//	NewPlan  *Stack + server -> *Plan      reads only: what is to be created, updated, removed, and why
//	Apply    *Plan           -> *Result    writes in dependency order, then waits until healthy or says what is wrong
//	Remove   stack name                    takes it all away again
//
// The package is a client of the Docker API and nothing else: it must never import the manager, the worker or the store,
// never keep state of its own between calls, and never drop a key of a compose file in silence.
package compose
