// Package store is the cluster's replicated state: typed objects in an
// immutable in-memory view, written by optimistic transactions through a
// totally ordered, durable log.
//
// The way of data: a caller changes a [Tx], an overlay on a [View]; [Store.Update]
// turns the changes into a [Batch] with the expected sequence of every object
// touched and commits it to the [Log]; the store follows that log, on every
// manager alike, and applies what comes back to its view. A view is therefore
// never ahead of what is durable, and Update returns once the caller can read
// its own write.
//
// Objects are shared and immutable: copy the struct before changing it, and
// never write through a pointer, map or slice of one that came out of a view.
//
// The package imports neither NATS nor Docker's client. Its logs are [NewMemLog]
// for simulation, and package jslog over JetStream; both are held to package
// storetest.
package store
