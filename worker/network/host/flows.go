package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/docker/docker/api/types/swarm"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"orch/worker/network/ingress"
)

// Attributes of connection tracking (linux/netfilter/nfnetlink_conntrack.h) that x/sys/unix does not name.
const (
	ctTupleOrig, ctTupleReply, ctStatus, ctMark, ctMarkMask, ctFilter, ctStatusMask = 1, 2, 3, 8, 21, 25, 26

	tupleIP, tupleProto   = 1, 2
	ipSrc                 = 1
	protoNumber, protoDst = 1, 3

	filterReply, filterSource = 2, 1 // the flags for the reply's tuple, and that of its source address

	messageGet, messageDelete = 1, 2
	// seenReply is the bit of the status that says that the other side has answered.
	seenReply = 2
)

// flow is a tracked connection to a published port.
type flow struct {
	tuple    []byte // how the kernel knows it
	protocol byte
	port     uint16     // that was called
	task     netip.Addr // that answers
}

// end ends the flows of a protocol to tasks that ports do not lead to any more, where they would stay for ever: those of UDP,
// and those of TCP that the task has not answered, so that the client's next attempt, a second after its first, finds another task.
func end(retired map[ingress.Port][]netip.Addr, protocol swarm.PortConfigProtocol) error {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("open connection tracking: %w", err)
	}
	defer c.Close()
	list, err := flows(c, protocol == swarm.PortConfigProtocolTCP)
	if err != nil {
		return fmt.Errorf("list the flows to published ports: %w", err)
	}
	var errs []error
	for _, f := range list {
		port := ingress.Port{Protocol: protocol, Number: f.port}
		if f.protocol != protocols[protocol] || !slices.Contains(retired[port], f.task) {
			continue
		}
		_, err := c.Execute(request(messageDelete, netlink.Request|netlink.Acknowledge, netlink.Attribute{Type: netlink.Nested | ctTupleOrig, Data: f.tuple}))
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("end the flow to a removed task: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Forget ends the tracking of all connections to published ports that tasks have answered. The kernel looks at each as it ends it, so
// that none goes that is another's by now. For one that cannot (before 6.11) the error is errors.ErrUnsupported.
func Forget(tasks []netip.Addr) error {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("open connection tracking: %w", err)
	}
	defer c.Close()
	var errs []error
	for _, a := range tasks {
		if a = a.Unmap(); !a.Is4() {
			continue
		}
		encode := netlink.NewAttributeEncoder()
		encode.ByteOrder = binary.BigEndian
		encode.Uint32(ctMark, mark)
		encode.Uint32(ctMarkMask, 0xffffffff)
		encode.Nested(ctTupleReply, func(tuple *netlink.AttributeEncoder) error {
			tuple.Nested(tupleIP, func(ip *netlink.AttributeEncoder) error {
				ip.Bytes(ipSrc, a.AsSlice())
				return nil
			})
			return nil
		})
		encode.Nested(ctFilter, func(f *netlink.AttributeEncoder) error {
			f.Bytes(filterReply, binary.NativeEndian.AppendUint32(nil, filterSource))
			return nil
		})
		attrs, err := encode.Encode()
		if err != nil {
			return fmt.Errorf("encode a filter of connections: %w", err)
		}
		m := request(messageDelete, netlink.Request|netlink.Acknowledge)
		m.Data = append(m.Data, attrs...)
		_, err = c.Execute(m)
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("end the tracking of a task's connections: %w", errors.ErrUnsupported)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("end the tracking of %s's connections: %w", a, err))
		}
	}
	return errors.Join(errs...)
}

// flows are the marked ones. The kernel leaves out those that were answered, if asked to: of a busy port there are a hundred
// thousand. One that cannot (before 5.17) lists them, too, so the status is looked at here as well.
func flows(c *netlink.Conn, unanswered bool) ([]flow, error) {
	word := func(kind uint16, n uint32) netlink.Attribute {
		return netlink.Attribute{Type: kind, Data: binary.BigEndian.AppendUint32(nil, n)}
	}
	attrs := []netlink.Attribute{word(ctMark, mark), word(ctMarkMask, 0xffffffff)}
	if unanswered {
		attrs = append(attrs, word(ctStatus, 0), word(ctStatusMask, seenReply))
	}
	messages, err := c.Execute(request(messageGet, netlink.Request|netlink.Dump, attrs...))
	if err != nil {
		return nil, err
	}
	var out []flow
	for _, m := range messages {
		f, status, err := parseFlow(m.Data)
		if err != nil {
			return nil, err
		}
		if !unanswered || status&seenReply == 0 {
			out = append(out, f)
		}
	}
	return out, nil
}

func request(kind int, flags netlink.HeaderFlags, attrs ...netlink.Attribute) netlink.Message {
	data, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		panic(err) // attributes of a few bytes are never too long
	}
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | kind), Flags: flags},
		Data:   append([]byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}, data...),
	}
}

func parseFlow(message []byte) (f flow, status uint32, err error) {
	attrs, err := decoder(message[min(4, len(message)):])
	if err != nil {
		return f, 0, err
	}
	for attrs.Next() {
		switch attrs.Type() {
		case ctStatus:
			status = attrs.Uint32()
		case ctTupleOrig:
			f.tuple = attrs.Bytes()
			err = errors.Join(err, f.proto(f.tuple))
		case ctTupleReply:
			err = errors.Join(err, f.answers(attrs.Bytes()))
		}
	}
	return f, status, errors.Join(err, attrs.Err())
}

func decoder(b []byte) (*netlink.AttributeDecoder, error) {
	d, err := netlink.NewAttributeDecoder(b)
	if err == nil {
		d.ByteOrder = binary.BigEndian
	}
	return d, err
}

// proto reads what was called.
func (f *flow) proto(tuple []byte) error {
	d, err := decoder(tuple)
	if err != nil {
		return err
	}
	for d.Next() {
		if d.Type() != tupleProto {
			continue
		}
		d.Nested(func(p *netlink.AttributeDecoder) error {
			for p.Next() {
				switch p.Type() {
				case protoNumber:
					f.protocol = p.Uint8()
				case protoDst:
					f.port = p.Uint16()
				}
			}
			return nil
		})
	}
	return d.Err()
}

// answers reads who does.
func (f *flow) answers(tuple []byte) error {
	d, err := decoder(tuple)
	if err != nil {
		return err
	}
	for d.Next() {
		if d.Type() != tupleIP {
			continue
		}
		d.Nested(func(ip *netlink.AttributeDecoder) error {
			for ip.Next() {
				if ip.Type() == ipSrc {
					f.task, _ = netip.AddrFromSlice(ip.Bytes())
				}
			}
			return nil
		})
	}
	return d.Err()
}
