// Package orchestrator brings the tasks of services to what their specs ask
// for: slots, restarts, rolling updates, rollback, jobs, task history.
//
// It is pure: it reads a transaction and writes to it. Everything that an
// update or a restart has to remember is in the store, so that another leader
// goes on where this one stopped; where time has to pass, Reconcile says when it
// wants to be called again. The way of data: a worker's report ([Observe]) or
// any other change of state makes services due ([Affected]); [Reconcile]
// compares their slots with their specs and creates tasks, or moves the desired
// states of those there are. Tasks are created in the state new; the allocator
// and the scheduler take them further within the same transaction.
package orchestrator
