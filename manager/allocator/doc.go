// Package allocator hands out what must not be held twice in a cluster: subnets
// and VXLAN identifiers of networks, virtual addresses and published ports of
// services, addresses of tasks and of nodes.
//
// What is taken is read from the objects that hold it, so nothing can leak and
// a removed object frees what it had; the only memory is where the search for
// addresses goes on ([store.Network.NextAddr]), so that a freed one rests. It is
// pure: it reads a transaction and writes to it.
package allocator
