package identity

import (
	"crypto/rand"
	"math/big"
)

const (
	idLength = 25
	// 17 bytes are 136 bits: more than the 129 that 25 digits of base 36 hold,
	// with the first digit, which is not uniform, to be cut off.
	idEntropy = 17
)

// NewID is a random ID of 25 lower-case base-36 digits, as swarmkit's
// identity.NewID makes them.
func NewID() string {
	var p [idEntropy]byte
	rand.Read(p[:]) // never fails: crypto/rand ends the program instead
	p[0] |= 0x80    // so that there are always enough digits
	return new(big.Int).SetBytes(p[:]).Text(36)[1 : idLength+1]
}
