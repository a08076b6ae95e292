package identity

import (
	"context"
	"fmt"
	"time"
)

// renewAgain is the pause after a renewal that failed; half of a certificate's
// life is left for it.
const renewAgain = 10 * time.Minute

// Signed is a certificate, with the intermediate it may need, and what is trusted from then on.
type Signed struct{ Cert, Trust []byte }

// KeepFresh renews a node's certificate at half its life, and when now has a value, until
// the context ends. sign has a request signed; save puts what is trusted, certificate and key
// on disk before they are used; failed hears of what went wrong and when it is tried again.
func KeepFresh(ctx context.Context, n *Node, now <-chan struct{}, save func(trustPEM, certPEM, keyPEM []byte) error,
	sign func(ctx context.Context, csr []byte) (Signed, error), failed func(err error, again time.Duration),
) error {
	wait := time.Until(n.RenewAt())
	for {
		select {
		case <-time.After(wait):
		case <-now:
		case <-ctx.Done():
			return nil
		}
		if err := renew(ctx, n, save, sign); err != nil {
			wait = renewAgain
			failed(err, wait)
			continue
		}
		wait = time.Until(n.RenewAt())
	}
}

func renew(ctx context.Context, n *Node, save func(trustPEM, certPEM, keyPEM []byte) error, sign func(context.Context, []byte) (Signed, error)) error {
	r, err := NewRequest()
	if err != nil {
		return err
	}
	keyPEM, err := r.KeyPEM()
	if err != nil {
		return err
	}
	signed, err := sign(ctx, r.CSR())
	if err != nil {
		return fmt.Errorf("have the certificate renewed: %w", err)
	}
	trust, err := ParseCA(signed.Trust, nil)
	if err != nil {
		return err
	}
	// Tried before it is saved: what is on disk must be something to start from.
	if _, err := NewNode(trust, signed.Cert, keyPEM); err != nil {
		return err
	}
	if err := save(signed.Trust, signed.Cert, keyPEM); err != nil {
		return fmt.Errorf("save the certificate: %w", err)
	}
	return n.Adopt(trust, signed.Cert, keyPEM)
}
