package identity

import (
	"context"
	"fmt"
	"time"
)

// renewAgain is the pause after a renewal that failed; half of a certificate's
// life is left for it.
const renewAgain = 10 * time.Minute

// KeepFresh renews a node's certificate at half its life, until the context ends.
// sign has a request signed; save puts certificate and key on disk before they
// are used; failed hears of what went wrong and when it is tried again.
func KeepFresh(ctx context.Context, n *Node, save func(certPEM, keyPEM []byte) error,
	sign func(ctx context.Context, csr []byte) ([]byte, error), failed func(err error, again time.Duration),
) error {
	wait := time.Until(n.RenewAt())
	for {
		select {
		case <-time.After(wait):
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

func renew(ctx context.Context, n *Node, save func(certPEM, keyPEM []byte) error, sign func(context.Context, []byte) ([]byte, error)) error {
	r, err := NewRequest()
	if err != nil {
		return err
	}
	keyPEM, err := r.KeyPEM()
	if err != nil {
		return err
	}
	certPEM, err := sign(ctx, r.CSR())
	if err != nil {
		return fmt.Errorf("have the certificate renewed: %w", err)
	}
	if err := save(certPEM, keyPEM); err != nil {
		return fmt.Errorf("save the certificate: %w", err)
	}
	return n.Renew(certPEM, keyPEM)
}
