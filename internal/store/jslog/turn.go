package jslog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// turnKey names the manager that is joining.
	turnKey = "joining"
	// turnTTL is when the turn of a joiner passes that does not say how it went. It is far
	// longer than a join takes: two at once can cost the cluster its state (package bus).
	turnTTL = 60 * time.Second
)

// ErrTurn says that another manager is joining.
var ErrTurn = errors.New("another manager is joining at the moment")

// TakeTurn gives a node its turn to join the managers, or ErrTurn. A node that has it already keeps it.
func (l *Log) TakeTurn(ctx context.Context, node string) error {
	held, err := l.last(ctx, turnKey)
	if err != nil {
		return unavailable(err)
	}
	if held.seq != 0 && !held.deleted && string(held.value) != node {
		return ErrTurn
	}
	m := message(turnKey, []byte(node), 0)
	m.Header.Set(jetstream.MsgTTLHeader, turnTTL.String())
	expect(m, held.seq)
	var refused *jetstream.APIError
	_, err = l.request(ctx, m)
	switch {
	case errors.As(err, &refused) && (refused.ErrorCode == codeWrongSequence || refused.ErrorCode == codeInFlight):
		return ErrTurn
	case err != nil:
		return unavailable(err)
	}
	return nil
}

// EndTurn ends a node's turn, if it has it.
func (l *Log) EndTurn(ctx context.Context, node string) error {
	held, err := l.last(ctx, turnKey)
	if err != nil || held.seq == 0 || held.deleted || string(held.value) != node {
		return err
	}
	m := message(turnKey, nil, forgetAfter)
	expect(m, held.seq)
	if _, err := l.request(ctx, m); err != nil {
		return fmt.Errorf("end the turn of joining: %w", err)
	}
	return nil
}
