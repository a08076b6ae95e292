// Package identity owns who is who in a cluster: its certificate authority, the
// nodes' certificates and the TLS configurations made from them, join tokens,
// the unlock key, the keys that seal secrets, and random IDs.
//
// The forms of tokens, keys, IDs and certificate subjects are Swarm's, so that
// people and tools which know one know the other. They were taken from
// github.com/moby/swarmkit/v2: ca/certificates.go, ca/config.go, ca/keyreadwriter.go,
// manager/encryption and identity/randomid.go.
//
// The package stores nothing but what it is told to write to a file, knows
// neither the bus nor the store, and never prints a key: every type that holds
// one hides it from fmt.
package identity
