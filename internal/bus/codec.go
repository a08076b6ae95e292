package bus

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

const (
	// partSize is how much of a message travels in one piece: large enough that
	// nearly all are one piece, small enough that heartbeats get in between.
	partSize = 1 << 20
	// maxMessage is the largest message that is put together again: a node's tasks
	// with hundreds of configs and secrets of the largest size.
	maxMessage = 256 << 20
	// partHeader is "<number of this part>/<number of parts>", from 1.
	partHeader = "Orch-Part"
)

var errParts = errors.New("parts of a message are missing or out of order")

// split encodes v as the messages that carry it to a subject, in order.
func split(subject string, v any) ([]*nats.Msg, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode a %T: %w", v, err)
	}
	if len(data) > maxMessage {
		return nil, fmt.Errorf("encode a %T: %d bytes are more than the %d that a node can be sent", v, len(data), maxMessage)
	}
	n := max(1, (len(data)+partSize-1)/partSize)
	msgs := make([]*nats.Msg, n)
	for i := range msgs {
		msgs[i] = nats.NewMsg(subject)
		msgs[i].Data = data[i*partSize : min(len(data), (i+1)*partSize)]
		if n > 1 {
			msgs[i].Header.Set(partHeader, fmt.Sprintf("%d/%d", i+1, n))
		}
	}
	return msgs, nil
}

// parts puts the messages of split together again.
type parts struct {
	data []byte
	next int // number of the part that must come now; 0 and 1: the first
	of   int
}

// add takes the next message and returns the whole once it is there.
func (p *parts) add(m *nats.Msg) (whole []byte, err error) {
	i, of, err := partOf(m)
	if err != nil {
		*p = parts{}
		return nil, err
	}
	if i == 1 {
		*p = parts{next: 1, of: of} // whatever was begun will not be finished
	}
	if i != p.next || of != p.of || len(p.data)+len(m.Data) > maxMessage {
		*p = parts{}
		return nil, errParts
	}
	if of == 1 {
		*p = parts{}
		return m.Data, nil
	}
	p.data = append(p.data, m.Data...)
	p.next++
	if i < of {
		return nil, nil
	}
	whole = p.data
	*p = parts{}
	return whole, nil
}

func partOf(m *nats.Msg) (i, of int, err error) {
	h := m.Header.Get(partHeader)
	if h == "" {
		return 1, 1, nil
	}
	a, b, _ := strings.Cut(h, "/")
	i, errI := strconv.Atoi(a)
	of, errOf := strconv.Atoi(b)
	if errI != nil || errOf != nil || i < 1 || i > of || of > maxMessage/partSize {
		return 0, 0, fmt.Errorf("%w: part %.20q", errParts, h)
	}
	return i, of, nil
}
