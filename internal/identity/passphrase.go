package identity

import (
	"golang.org/x/crypto/argon2"
)

// Cost of a passphrase's key: RFC 9106's second recommendation, half a second of a small machine for
// each guess, and 64 MiB.
const (
	passTime    = 3
	passMemory  = 64 << 10 // KiB
	passThreads = 4
)

// PassphraseKey is the key of a passphrase, with a salt that is random and kept beside what it seals.
func PassphraseKey(passphrase string, salt []byte) Key {
	var k Key
	copy(k.b[:], argon2.IDKey([]byte(passphrase), salt, passTime, passMemory, passThreads, uint32(len(k.b))))
	return k
}
