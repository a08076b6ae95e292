package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"golang.org/x/sync/errgroup"
)

const (
	// maxQuestions is how many a worker works on at a time.
	maxQuestions = 16
	// questionLimit bounds a worker's work for one.
	questionLimit = 20 * time.Second
)

// Question is what a manager asks a worker about its node's networks: one of the two.
type Question struct {
	// Network asks what the kernel has of a network, by its ID.
	Network string `json:",omitempty"`
	// Check asks to try the way to other nodes.
	Check *Check `json:",omitempty"`
}

// Check is a trial of the overlay's path between nodes, on a VXLAN of its own in a network namespace of its own.
type Check struct {
	// Addr is the node's address in it.
	Addr  string
	Peers []CheckPeer
	// For is how long the node answers others.
	For time.Duration
}

// CheckPeer is another node in the trial.
type CheckPeer struct {
	NodeID   string
	Underlay string
	Addr     string
}

// Answer is a worker's.
type Answer struct {
	Err     string         `json:",omitempty"`
	Network *NetworkReport `json:",omitempty"`
	Check   []PathReport   `json:",omitempty"`
	// MTU is that of the node's way to others, in a check.
	MTU int `json:",omitempty"`
}

// NetworkReport is what one node's kernel has of a network.
type NetworkReport struct {
	Engine  string // the engine's ID of it
	Bridge  string
	Port    string // what leads to other nodes: "vxlan 4789", "wireguard-userspace", "" for nothing
	MTU     int
	NodeIP  string `json:",omitempty"`
	Remotes int    // addresses on other nodes
	// Differences is what is not as it should be, in words.
	Differences []string `json:",omitempty"`
}

// PathReport is how the way to one node is.
type PathReport struct {
	NodeID string
	UDP    bool
	TCP    bool
	RTT    time.Duration `json:",omitempty"`
	// MTU is the largest packet of the overlay's that went there and back.
	MTU int    `json:",omitempty"`
	Err string `json:",omitempty"`
}

// ask is a Question on its way.
type ask struct {
	Question
	Answer string // what the answer is sent as
}

// Ask asks a worker and waits for its answer.
func (m *ManagerConn) Ask(ctx context.Context, node string, q Question) (Answer, error) {
	id := nuid.Next()
	answers, err := m.conn.SubscribeSync(fromSubject(node, whatAnswer+"."+id))
	if err != nil {
		return Answer{}, fmt.Errorf("ask node %s: %w", node, err)
	}
	defer answers.Unsubscribe()
	body, err := json.Marshal(ask{q, id})
	if err == nil {
		err = m.conn.Publish(toSubject(node, whatAsk), body)
	}
	if err != nil {
		return Answer{}, fmt.Errorf("ask node %s: %w", node, err)
	}
	msg, err := answers.NextMsgWithContext(ctx)
	if err != nil {
		return Answer{}, fmt.Errorf("node %s does not answer: %w", node, err)
	}
	var a Answer
	if err := json.Unmarshal(msg.Data, &a); err != nil {
		return Answer{}, fmt.Errorf("read the answer of node %s: %w", node, err)
	}
	if a.Err != "" {
		return a, errors.New(a.Err)
	}
	return a, nil
}

// ServeQuestions answers managers until the context ends, and returns when every answer has been given.
func (w *WorkerConn) ServeQuestions(ctx context.Context, answer func(context.Context, Question) (Answer, error)) error {
	sub, err := w.conn.SubscribeSync(toSubject(w.node, whatAsk))
	if err != nil {
		return fmt.Errorf("listen for questions: %w", err)
	}
	defer sub.Unsubscribe()
	var running errgroup.Group
	running.SetLimit(maxQuestions)
	defer running.Wait()
	for {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, nats.ErrSlowConsumer):
			continue
		case err != nil:
			return fmt.Errorf("listen for questions: %w", err)
		}
		var q ask
		if err := json.Unmarshal(m.Data, &q); err != nil || q.Answer == "" {
			w.log.Warn("refused a question", "err", err)
			continue
		}
		running.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, questionLimit)
			defer cancel()
			a, err := answer(ctx, q.Question)
			if err != nil {
				a.Err = err.Error()
			}
			body, err := json.Marshal(a)
			if err == nil {
				err = w.conn.Publish(fromSubject(w.node, whatAnswer+"."+q.Answer), body)
			}
			if err != nil {
				w.log.Warn("answer a manager", "err", err)
			}
			return nil
		})
	}
}
