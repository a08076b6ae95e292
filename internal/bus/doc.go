// Package bus is everything orch says over NATS: the embedded server, its
// connections and permissions, every subject name, and the messages between
// managers and workers. No other package names a subject.
package bus
