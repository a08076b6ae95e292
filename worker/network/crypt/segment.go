package crypt

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

const (
	ethLen = 14
	// virtioLen is struct virtio_net_hdr, which comes before each frame of a TAP device with offloads.
	virtioLen = 10

	typeIPv4, typeIPv6 = 0x0800, 0x86dd

	// Source: linux/virtio_net.h.
	needsChecksum               = 1
	gsoNone, gsoTCPv4, gsoTCPv6 = 0, 1, 4
	gsoECN                      = 0x80

	protoTCP             = 6
	flagFIN, flagPSH     = 0x01, 0x08
	flagACK, flagsSimple = 0x10, 0x18
)

var (
	errFrame = errors.New("a frame that is no IP packet")
	errRoom  = errors.New("more segments than there is room for")
)

// offload is the header that says what is left to do to a frame.
type offload struct {
	flags, gso            byte
	headers, size         uint16 // of each segment: its headers, its payload at most
	csumStart, csumOffset uint16
}

func readOffload(b []byte) offload {
	n := binary.NativeEndian
	return offload{flags: b[0], gso: b[1] &^ gsoECN, headers: n.Uint16(b[2:]), size: n.Uint16(b[4:]), csumStart: n.Uint16(b[6:]), csumOffset: n.Uint16(b[8:])}
}

func (o offload) write(b []byte) {
	n := binary.NativeEndian
	b[0], b[1] = o.flags, o.gso
	n.PutUint16(b[2:], o.headers)
	n.PutUint16(b[4:], o.size)
	n.PutUint16(b[6:], o.csumStart)
	n.PutUint16(b[8:], o.csumOffset)
}

// ends are the addresses of an IP packet.
func ends(p []byte) (src, dst netip.Addr, ok bool) {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20])), true
	case len(p) >= 40 && p[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40])), true
	}
	return src, dst, false
}

// split turns a frame, its header before it, into the IP packets that it stands for, each with whole checksums. It writes them
// into bufs from the offset on and returns how many there are.
func split(frame []byte, bufs [][]byte, sizes []int, offset int) (int, error) {
	if len(frame) < virtioLen+ethLen+20 {
		return 0, errFrame
	}
	o := readOffload(frame)
	p := frame[virtioLen+ethLen:]
	switch kind := binary.BigEndian.Uint16(frame[virtioLen+12:]); {
	case kind == typeIPv4 && p[0]>>4 == 4, kind == typeIPv6 && p[0]>>4 == 6:
	default:
		return 0, errFrame
	}
	if o.gso == gsoNone {
		if o.flags&needsChecksum != 0 {
			start := int(o.csumStart) - ethLen
			at := start + int(o.csumOffset)
			if start < 0 || at+2 > len(p) {
				return 0, errFrame
			}
			finish(p[start:], int(o.csumOffset))
		}
		if len(bufs) == 0 || len(p) > len(bufs[0])-offset {
			return 0, errRoom
		}
		sizes[0] = copy(bufs[0][offset:], p)
		return 1, nil
	}
	return segment(o, p, bufs, sizes, offset)
}

// finish replaces the sum of the pseudo header, which is where the checksum goes, by the checksum.
func finish(b []byte, at int) {
	sum := ^fold(sum(b, 0))
	if sum == 0 {
		sum = 0xffff // UDP's way of writing zero; for TCP it is the same number
	}
	binary.BigEndian.PutUint16(b[at:], sum)
}

// segment cuts a large TCP segment.
func segment(o offload, p []byte, bufs [][]byte, sizes []int, offset int) (int, error) {
	ip, tcp := int(o.csumStart)-ethLen, 0
	if o.gso != gsoTCPv4 && o.gso != gsoTCPv6 || o.size == 0 || ip < 20 || ip+20 > len(p) {
		return 0, errFrame
	}
	tcp = int(p[ip+12]>>4) * 4
	head := ip + tcp
	if tcp < 20 || head > len(p) {
		return 0, errFrame
	}
	seq := binary.BigEndian.Uint32(p[ip+4:])
	id := binary.BigEndian.Uint16(p[4:])
	payload, n := p[head:], 0
	for at := 0; at < len(payload) || n == 0; n++ {
		if n == len(bufs) {
			return n, errRoom
		}
		chunk := payload[at:min(at+int(o.size), len(payload))]
		out := bufs[n][offset:]
		if head+len(chunk) > len(out) {
			return n, errRoom
		}
		out = out[:head+len(chunk)]
		copy(out, p[:head])
		copy(out[head:], chunk)
		binary.BigEndian.PutUint32(out[ip+4:], seq+uint32(at))
		if at += len(chunk); at < len(payload) {
			out[ip+13] &^= flagFIN | flagPSH
		}
		lengths(out, ip, id+uint16(n))
		checksumTCP(out, ip)
		sizes[n] = len(out)
	}
	return n, nil
}

// lengths writes what an IP header says of its packet's size.
func lengths(p []byte, ip int, id uint16) {
	if p[0]>>4 == 6 {
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
		return
	}
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[4:], id)
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], ^fold(sum(p[:ip], 0)))
}

// pseudo is the sum of the header that TCP's checksum covers besides its own.
func pseudo(p []byte, ip int) uint64 {
	addrs := p[12:20]
	if p[0]>>4 == 6 {
		addrs = p[8:40]
	}
	return sum(addrs, protoTCP+uint64(len(p)-ip))
}

func checksumTCP(p []byte, ip int) {
	p[ip+16], p[ip+17] = 0, 0
	binary.BigEndian.PutUint16(p[ip+16:], ^fold(sum(p[ip:], pseudo(p, ip))))
}

// sum adds 16-bit words, four at a time.
func sum(b []byte, n uint64) uint64 {
	var carry uint64
	for len(b) >= 8 {
		v := binary.BigEndian.Uint64(b)
		n += v >> 32
		carry += v & 0xffffffff
		b = b[8:]
	}
	n += carry
	for len(b) >= 2 {
		n += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		n += uint64(b[0]) << 8
	}
	return n
}

func fold(n uint64) uint16 {
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return uint16(n)
}
