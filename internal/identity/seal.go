package identity

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	unlockPrefix = "SWMKEY-1-"
	hidden       = "(hidden)"
)

var (
	// ErrSealed says that a sealed value was not made with this key for this use,
	// or was changed since.
	ErrSealed = errors.New("cannot open the sealed value: another key, another object, or it was altered")
	// ErrUnlockKey says that a string is not an unlock key.
	ErrUnlockKey = errors.New("invalid unlock key")
)

// Key is a symmetric key: the cluster's data key, or the unlock key that wraps it
// while autolock is on.
type Key struct {
	b [chacha20poly1305.KeySize]byte
}

// NewKey is a random key.
func NewKey() Key {
	var k Key
	rand.Read(k.b[:])
	return k
}

// ParseUnlockKey reads the form SWMKEY-1-<base64>.
func ParseUnlockKey(s string) (Key, error) {
	rest, ok := strings.CutPrefix(s, unlockPrefix)
	if !ok {
		return Key{}, fmt.Errorf("%w: it does not begin with %s", ErrUnlockKey, unlockPrefix)
	}
	raw, err := base64.RawStdEncoding.Strict().DecodeString(rest)
	if err != nil || strings.ContainsAny(rest, "\r\n") {
		return Key{}, fmt.Errorf("%w: it is damaged", ErrUnlockKey) // the decoder's error could quote it
	}
	return KeyFromBytes(raw)
}

// KeyFromBytes is the key that Bytes gave.
func KeyFromBytes(raw []byte) (Key, error) {
	var k Key
	if len(raw) != len(k.b) {
		return Key{}, fmt.Errorf("%w: %d bytes instead of %d", ErrUnlockKey, len(raw), len(k.b))
	}
	copy(k.b[:], raw)
	return k, nil
}

// Reveal is the key as an unlock key that a user keeps.
func (k Key) Reveal() string { return unlockPrefix + base64.RawStdEncoding.EncodeToString(k.b[:]) }

// Bytes is the raw key, for sealing under another.
func (k Key) Bytes() []byte { return k.b[:] }

// Derive is a key for another use, as text; it does not lead back to k.
func (k Key) Derive(use string) string {
	out, err := hkdf.Key(sha256.New, k.b[:], nil, use, len(k.b))
	if err != nil {
		panic(err) // only a length beyond 255 hashes is refused
	}
	return base64.RawStdEncoding.EncodeToString(out)
}

// Equal compares in constant time.
func (k Key) Equal(o Key) bool { return subtle.ConstantTimeCompare(k.b[:], o.b[:]) == 1 }

// String hides the key.
func (k Key) String() string { return hidden }

// Format hides the key from every verb: %x and %d would print the array.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, hidden) }

// Seal encrypts plaintext with XChaCha20-Poly1305 under a random nonce, which
// is put before it. aad names what the value is part of (kind and ID of the
// object), so that one sealed value cannot be put in the place of another.
func Seal(k Key, plaintext []byte, aad string) []byte {
	aead, err := chacha20poly1305.NewX(k.b[:])
	if err != nil {
		panic(err) // the key's size is fixed by its type
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plaintext)+aead.Overhead())
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, plaintext, []byte(aad))
}

// Open decrypts what Seal made with the same key and aad.
func Open(k Key, sealed []byte, aad string) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(k.b[:])
	if err != nil {
		panic(err)
	}
	if len(sealed) < aead.NonceSize() {
		return nil, ErrSealed
	}
	plaintext, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(aad))
	if err != nil {
		return nil, ErrSealed
	}
	return plaintext, nil
}
