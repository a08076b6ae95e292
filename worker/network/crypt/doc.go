// Package crypt carries the traffic of encrypted networks between nodes, in one of three ways that the managers choose by
// what all nodes of the cluster can do:
//
//   - esp: the kernel's IPsec in transport mode around VXLAN on a port of its own, as Swarm does it. A policy discards whatever
//     would leave, or arrives, on that port without.
//   - wireguard: the kernel's WireGuard device under VXLAN, which is bound to that device and gone with it.
//   - wireguard-userspace: wireguard-go in this process. Each network's bridge has a TAP device as a port; frames lose their
//     Ethernet header, travel as IP packets, and get one again at the other end. No VXLAN, so no fragments and large segments.
//
// Keys come from the managers and live in memory and in the kernel. The package must never let a packet of an encrypted network
// leave in the clear: what cannot be encrypted is dropped.
package crypt

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
)

// The ways to encrypt, the fastest first.
const (
	ESP       = "esp"
	WireGuard = "wireguard"
	Userspace = "wireguard-userspace"
)

// Key is one of the cluster's keys for the traffic between nodes.
type Key struct {
	ID   uint64
	Data []byte
}

// Primary is the key to send with: the newest that every node has had a whole rotation's time to learn.
func Primary(keys []Key) (Key, bool) {
	switch len(keys) {
	case 0:
		return Key{}, false
	case 1:
		return keys[0], true
	}
	return keys[len(keys)-2], true
}

// derive makes a key for one use of one of the cluster's.
func derive(k Key, size int, use string, parts ...string) ([]byte, error) {
	info := use
	for _, p := range parts {
		info += "\x00" + p
	}
	out, err := hkdf.Key(sha256.New, k.Data, nil, info, size)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	return out, nil
}
