// Package nft is what service addresses and published ports have in common: the rule that chooses a task, and looking after rules.
//
// An Eye asks the kernel what google/nftables has no question for: whether anything in a namespace's rules has changed, and how much a
// table holds. Both cost next to nothing, so that a reconciler can look often: the generation is one number, and a table whose
// counts are right is as it was written. The package owns no table and changes nothing by itself.
package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// sockBuffer holds the answers to one transaction over all services: the kernel's default overflows at a few hundred.
const sockBuffer = 32 << 20

// Dial opens nftables in a network namespace, given as a file descriptor; 0 is the process's own.
func Dial(ns int) (*nftables.Conn, error) {
	return nftables.New(nftables.WithNetNSFd(ns), nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		if err := c.SetWriteBuffer(sockBuffer); err != nil {
			return err
		}
		return c.SetReadBuffer(sockBuffer)
	}))
}

// sets numbers sets and maps within their transactions: the library's own count is not for several transactions at a time.
var sets atomic.Uint32

// AddSet adds a set or map with its elements to the transaction.
func AddSet(c *nftables.Conn, s *nftables.Set, elements []nftables.SetElement) error {
	s.ID = sets.Add(1)
	switch { // the kernel puts a number in the place of %d
	case s.Anonymous && s.IsMap:
		s.Name = "__map%d"
	case s.Anonymous:
		s.Name = "__set%d"
	}
	return c.AddSet(s, elements)
}

// Eye looks at the rules of one namespace. It is not safe for concurrent use.
type Eye struct{ conn *netlink.Conn }

// Open is an eye on a network namespace, given as Dial's.
func Open(ns int) (*Eye, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: ns})
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return &Eye{c}, nil
}

// Close closes the eye.
func (e *Eye) Close() { _ = e.conn.Close() }

// Generation is a number that moves with every change of any rule in the namespace.
func (e *Eye) Generation() (uint32, error) {
	got, err := e.ask(unix.NFT_MSG_GETGEN, netlink.Request, unix.AF_UNSPEC)
	if err != nil {
		return 0, fmt.Errorf("ask for the rules' generation: %w", err)
	}
	for _, m := range got {
		attrs, err := netlink.NewAttributeDecoder(m.Data[min(nfgen, len(m.Data)):])
		if err != nil {
			return 0, fmt.Errorf("decode the rules' generation: %w", err)
		}
		attrs.ByteOrder = binary.BigEndian
		for attrs.Next() {
			if attrs.Type() == unix.NFTA_GEN_ID {
				return attrs.Uint32(), nil
			}
		}
	}
	return 0, errors.New("the kernel names no generation of its rules")
}

// nfgen is the length of the header of netfilter's messages.
const nfgen = 4

// Rules counts the rules of a table; there are none without it.
func (e *Eye) Rules(t *nftables.Table) (int, error) {
	name := netlink.Attribute{Type: unix.NFTA_RULE_TABLE, Data: append([]byte(t.Name), 0)}
	got, err := e.ask(unix.NFT_MSG_GETRULE, netlink.Request|netlink.Dump, byte(t.Family), name)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("count the rules of table %s: %w", t.Name, err)
	}
	return len(got), nil
}

// Elements counts the elements of a named set or map; there are none without it.
func (e *Eye) Elements(t *nftables.Table, set string) (int, error) {
	got, err := e.ask(unix.NFT_MSG_GETSETELEM, netlink.Request|netlink.Dump, byte(t.Family),
		netlink.Attribute{Type: unix.NFTA_SET_ELEM_LIST_TABLE, Data: append([]byte(t.Name), 0)},
		netlink.Attribute{Type: unix.NFTA_SET_ELEM_LIST_SET, Data: append([]byte(set), 0)})
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("count the elements of set %s: %w", set, err)
	}
	total := 0
	for _, m := range got {
		n, err := elements(m.Data)
		if err != nil {
			return 0, fmt.Errorf("decode the elements of set %s: %w", set, err)
		}
		total += n
	}
	return total, nil
}

func elements(message []byte) (n int, err error) {
	attrs, err := netlink.NewAttributeDecoder(message[min(nfgen, len(message)):])
	if err != nil {
		return 0, err
	}
	for attrs.Next() {
		if attrs.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		attrs.Nested(func(list *netlink.AttributeDecoder) error {
			for list.Next() {
				n++
			}
			return nil
		})
	}
	return n, attrs.Err()
}

func (e *Eye) ask(kind int, flags netlink.HeaderFlags, family byte, attrs ...netlink.Attribute) ([]netlink.Message, error) {
	data, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return nil, err
	}
	return e.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: flags},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, data...),
	})
}

// News calls told after changes of the node's own rules, by anyone, until the context ends. It returns an error where the kernel
// tells nobody.
func News(ctx context.Context, told func()) error {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	if err != nil {
		return fmt.Errorf("listen for changes of rules: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	for {
		_, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, unix.ENOBUFS): // more than fits: still news
			_ = c.Close()
			return fmt.Errorf("listen for changes of rules: %w", err)
		}
		told()
	}
}
