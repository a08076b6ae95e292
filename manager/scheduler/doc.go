// Package scheduler decides which node runs a task.
//
// [Enforce] rejects tasks whose node, having changed, no longer satisfies what
// they ask for. [Schedule] takes every task that is allocated and has no node,
// drops the nodes that cannot take it (filters) and spreads it over the rest:
// evenly over the branches of its placement preferences, then fewest tasks of
// the service, fewest tasks, least reserved. Equal tasks are placed together.
// A task that fits nowhere stays pending and says why, in Swarm's words.
//
// It is pure: it reads a transaction and writes to it, and keeps nothing.
package scheduler
