// Package worker is the agent of a node: it runs what the managers assign, and says what became of it.
//
// Data takes one way through it. The link (link.go) asks the managers for the full set of the node's assignments and puts the
// increments in order; the watch (watch.go) follows the engine's events. Both hand what they learn to the agent's one
// goroutine (agent.go), which alone owns the tasks. For each task that something happened to, the pure function next
// (step.go) names the one step that brings it nearer to what is desired; steps (prepare.go, run.go) do it in goroutines
// of their own and hand the outcome back. Statuses leave in batches (report.go), names and ports go to the network
// (rotation.go), and the set goes to disk (saved.go).
//
// Without managers the agent goes on with the last set. Without the engine it waits, and starts again in place what the
// engine's own end took down. It never removes a container that it cannot prove to be its own, never stops one because it
// ends itself, and never writes a secret anywhere but into package files' tmpfs.
package worker
