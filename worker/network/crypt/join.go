package crypt

import (
	"bytes"
	"encoding/binary"
)

const (
	// maxJoined is how many packets become one segment: the payload's pieces and their headers are one write.
	maxJoined = 60
	// maxPacket is the largest IP packet.
	maxPacket = 65535
)

// train is a run of TCP segments of one connection, which the kernel takes as one.
type train struct {
	first    []byte   // the packet whose headers it has
	payloads [][]byte // of all packets
	ip, head int      // lengths of the IP header, and of both
	size     int      // payload of each but the last
	next     uint32   // sequence number that follows
	total    int      // payload
	closed   bool     // nothing may follow
}

// join puts the packets of a batch together where that changes nothing but their number; those of one connection stay in order.
func join(packets [][]byte) []train {
	var out []train
	for _, p := range packets {
		if t, ok := candidate(p); ok {
			if last := lastOf(out, t); last >= 0 && out[last].take(t) {
				continue
			}
			out = append(out, t)
			continue
		}
		for i := range out { // nothing may overtake it
			out[i].closed = out[i].closed || sameEnds(out[i].first, p)
		}
		out = append(out, train{first: p, closed: true})
	}
	return out
}

// candidate reads a packet that may be part of a train: TCP data with no flags but ACK and PSH, no fragments, no IP options.
func candidate(p []byte) (train, bool) {
	t := train{first: p, ip: 20}
	switch {
	case len(p) >= 40 && p[0] == 0x45 && p[9] == protoTCP && p[6]&^0x40 == 0 && p[7] == 0 && int(binary.BigEndian.Uint16(p[2:])) == len(p):
	case len(p) >= 60 && p[0]>>4 == 6 && p[6] == protoTCP && int(binary.BigEndian.Uint16(p[4:])) == len(p)-40:
		t.ip = 40
	default:
		return t, false
	}
	t.head = t.ip + int(p[t.ip+12]>>4)*4
	if flags := p[t.ip+13]; t.head < t.ip+20 || t.head >= len(p) || flags&flagACK == 0 || flags&^flagsSimple != 0 {
		return t, false
	}
	payload := p[t.head:]
	t.payloads, t.size, t.total = [][]byte{payload}, len(payload), len(payload)
	t.next = binary.BigEndian.Uint32(p[t.ip+4:]) + uint32(len(payload))
	t.closed = p[t.ip+13]&flagPSH != 0
	return t, true
}

// lastOf is the newest train of the same connection, or -1.
func lastOf(all []train, t train) int {
	for i := len(all) - 1; i >= 0; i-- {
		if o := &all[i]; o.ip == t.ip && o.payloads != nil && sameFlow(o.first, t.first, t.ip) {
			return i
		}
	}
	return -1
}

// sameEnds says that two packets are between the same addresses.
func sameEnds(a, b []byte) bool {
	src, dst, ok := ends(a)
	src2, dst2, ok2 := ends(b)
	return ok && ok2 && src == src2 && dst == dst2
}

func sameFlow(a, b []byte, ip int) bool {
	if !bytes.Equal(a[ip:ip+4], b[ip:ip+4]) {
		return false
	}
	if ip == 40 {
		return a[0]>>4 == 6 && b[0]>>4 == 6 && bytes.Equal(a[8:40], b[8:40])
	}
	return bytes.Equal(a[12:20], b[12:20])
}

// take puts another packet at the end, if it follows and has the same headers.
func (t *train) take(n train) bool {
	a, b := t.first, n.first
	switch {
	case t.closed || t.head != n.head || n.size > t.size || t.next != binary.BigEndian.Uint32(b[t.ip+4:]),
		len(t.payloads) == maxJoined || t.head+t.total+n.size > maxPacket,
		!bytes.Equal(a[t.ip+8:t.ip+12], b[t.ip+8:t.ip+12]),   // acknowledged
		!bytes.Equal(a[t.ip+14:t.ip+16], b[t.ip+14:t.ip+16]), // window
		!bytes.Equal(a[t.ip+18:t.head], b[t.ip+18:t.head]),   // urgent pointer, options
		!sameIP(a, b):
		return false
	}
	t.payloads = append(t.payloads, n.payloads[0])
	t.total += n.size
	t.next = n.next
	// The flags of the last are the train's, and a short one is the last.
	if n.closed || n.size < t.size {
		t.closed = true
		a[t.ip+13] |= b[t.ip+13] & flagPSH
	}
	return true
}

// sameIP says that two IP headers differ in what counts packets only.
func sameIP(a, b []byte) bool {
	if a[0]>>4 == 6 {
		return bytes.Equal(a[:4], b[:4]) && a[7] == b[7]
	}
	return a[1] == b[1] && a[6] == b[6] && a[8] == b[8]
}

// headers makes the packet's own headers say what they say of the whole train, and returns what the kernel has to know of it.
func (t *train) headers() offload {
	if len(t.payloads) < 2 {
		return offload{}
	}
	p := t.first[:t.head]
	o := offload{
		flags: needsChecksum, gso: gsoTCPv4, headers: uint16(ethLen + t.head), size: uint16(t.size),
		csumStart: uint16(ethLen + t.ip), csumOffset: 16,
	}
	length := t.head + t.total
	if t.ip == 40 {
		o.gso = gsoTCPv6
		binary.BigEndian.PutUint16(p[4:], uint16(length-40))
		binary.BigEndian.PutUint16(p[t.ip+16:], fold(sum(p[8:40], protoTCP+uint64(length-t.ip))))
		return o
	}
	binary.BigEndian.PutUint16(p[2:], uint16(length))
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], ^fold(sum(p[:t.ip], 0)))
	binary.BigEndian.PutUint16(p[t.ip+16:], fold(sum(p[12:20], protoTCP+uint64(length-t.ip))))
	return o
}
