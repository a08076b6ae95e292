// Package network makes a node's kernel and sockets agree with what the managers want of its networks: the overlay's bridges
// and forwarding entries (package overlay), service addresses inside each task's network namespace (vip), names (dns) and
// published ports (ingress).
//
// The whole desired state comes in by Apply. Everything below it is a comparison of what should be with what is: the tables
// are pure functions of the state, and each part applies the difference. Run puts back what others took away. The data plane
// is the kernel's and stays when the process ends; only Teardown removes it.
//
// The package must never remove a Docker network that has containers or that another daemon made, never put traffic of a
// network that asked for encryption on the wire in the clear, and never capture a port that it could not bind.
package network
