package identity

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

const (
	tokenPrefix  = "SWMTKN"
	tokenVersion = "1"
	digestDigits = 50 // of base 36: a SHA-256 sum
	secretDigits = 25 // of base 36: 16 bytes
	secretBytes  = 16
)

// ErrToken says that a string is not a join token.
var ErrToken = errors.New("invalid join token")

// Token lets a machine join a cluster: it names the cluster's CA, so that the
// machine knows whom it talks to, and holds a secret, so that the cluster lets it in.
// The secret is shown by Reveal alone.
type Token struct {
	digest string
	secret string
}

// NewToken is a fresh token for the cluster of a CA.
func NewToken(ca *CA) Token {
	var p [secretBytes]byte
	rand.Read(p[:])
	return Token{digest: ca.Digest(), secret: base36(p[:], secretDigits)}
}

// ParseToken reads the form SWMTKN-1-<CA digest>-<secret>.
func ParseToken(s string) (Token, error) {
	parts := strings.Split(s, "-")
	if len(parts) != 4 || parts[0] != tokenPrefix {
		return Token{}, fmt.Errorf("%w: it does not have the form SWMTKN-1-…-…", ErrToken)
	}
	if parts[1] != tokenVersion {
		return Token{}, fmt.Errorf("%w: version %.10q is not known", ErrToken, parts[1])
	}
	t := Token{digest: parts[2], secret: parts[3]}
	if !isBase36(t.digest, digestDigits) || !isBase36(t.secret, secretDigits) {
		return Token{}, fmt.Errorf("%w: it is damaged or cut short", ErrToken)
	}
	return t, nil
}

// Reveal is the token as a user passes it on.
func (t Token) Reveal() string {
	return strings.Join([]string{tokenPrefix, tokenVersion, t.digest, t.secret}, "-")
}

// String hides the secret.
func (t Token) String() string {
	return tokenPrefix + "-" + tokenVersion + "-" + t.digest + "-(hidden)"
}

// GoString hides the secret from %#v.
func (t Token) GoString() string { return t.String() }

// Equal compares in constant time.
func (t Token) Equal(o Token) bool {
	return subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(o.Reveal())) == 1
}

func base36(p []byte, digits int) string {
	return fmt.Sprintf("%0*s", digits, new(big.Int).SetBytes(p).Text(36))
}

func isBase36(s string, digits int) bool {
	if len(s) != digits {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
