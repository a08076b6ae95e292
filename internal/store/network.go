package store

import (
	"strconv"

	"github.com/docker/docker/api/types/swarm"
)

// encryptedOption asks that nothing of a network is sent between nodes in the clear.
const encryptedOption = "encrypted"

// Encrypted says that a network's traffic must not be readable between nodes. As with Swarm the option needs no value.
func Encrypted(spec swarm.NetworkSpec) bool {
	d := spec.DriverConfiguration
	if d == nil {
		return false
	}
	v, ok := d.Options[encryptedOption]
	on, err := strconv.ParseBool(v)
	return ok && (err != nil || on)
}
