package crypt

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// segmentOf is one whole TCP packet.
func segmentOf(six bool, port uint16, seq uint32, flags byte, payload []byte) []byte {
	ip := 20
	if six {
		ip = 40
	}
	p := make([]byte, ip+32+len(payload))
	if six {
		p[0], p[6], p[7] = 0x60, protoTCP, 64
		copy(p[8:], netip.MustParseAddr("fd00::5").AsSlice())
		copy(p[24:], netip.MustParseAddr("fd00::6").AsSlice())
	} else {
		p[0], p[6], p[8], p[9] = 0x45, 0x40, 64, protoTCP
		copy(p[12:], []byte{10, 0, 1, 5, 10, 0, 1, 6})
	}
	t := p[ip:]
	binary.BigEndian.PutUint16(t, port)
	binary.BigEndian.PutUint16(t[2:], 80)
	binary.BigEndian.PutUint32(t[4:], seq)
	binary.BigEndian.PutUint32(t[8:], 77)
	t[12], t[13] = 8<<4, flags // 12 bytes of options
	copy(t[20:32], []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8})
	copy(t[32:], payload)
	lengths(p, ip, 0)
	checksumTCP(p, ip)
	return p
}

func frameOf(o offload, p []byte) []byte {
	f := make([]byte, virtioLen+ethLen, virtioLen+ethLen+len(p))
	o.write(f)
	binary.BigEndian.PutUint16(f[virtioLen+12:], map[byte]uint16{4: typeIPv4, 6: typeIPv6}[p[0]>>4])
	return append(f, p...)
}

func cut(t *testing.T, frame []byte) (out [][]byte) {
	t.Helper()
	bufs, sizes := make([][]byte, batch), make([]int, batch)
	for i := range bufs {
		bufs[i] = make([]byte, 1200)
	}
	n, err := split(frame, bufs, sizes, 16)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		out = append(out, bufs[i][16:16+sizes[i]])
	}
	return out
}

// What is joined and then cut again by the rules of the kernel is what it was, whatever comes in between.
func TestPacketsSurviveBeingJoinedAndCut(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		var in [][]byte
		next := map[uint16]uint32{}
		for range 1 + r.IntN(100) {
			port, flags := uint16(1+r.IntN(3)), byte(flagACK)
			size := []int{1000, 1000, 1000, 1000, 10, 0}[r.IntN(6)]
			switch r.IntN(12) {
			case 0:
				flags |= flagPSH
			case 1:
				next[port] += 7 // a gap
			case 2:
				flags |= flagFIN
			}
			payload := make([]byte, size)
			for i := range payload {
				payload[i] = byte(r.Uint32())
			}
			in = append(in, segmentOf(port == 3, port, next[port], flags, payload))
			next[port] += uint32(size)
		}
		byPort := func(packets [][]byte) map[uint16][][]byte {
			out := map[uint16][][]byte{}
			for _, p := range packets {
				ip := map[byte]int{4: 20, 6: 40}[p[0]>>4]
				p = bytes.Clone(p)
				if ip == 20 { // an identification that nobody needs, since nothing is fragmented
					lengths(p, ip, 0)
				}
				port := binary.BigEndian.Uint16(p[ip:])
				out[port] = append(out[port], p)
			}
			return out
		}
		want := byPort(in)
		var out [][]byte
		trains := join(in)
		for _, tr := range trains {
			o := tr.headers()
			whole := tr.first
			if len(tr.payloads) > 1 {
				whole = append(bytes.Clone(tr.first[:tr.head]), bytes.Join(tr.payloads, nil)...)
			}
			out = append(out, cut(t, frameOf(o, whole))...)
		}
		if d := cmp.Diff(want, byPort(out)); d != "" {
			t.Fatalf("seed %d: %s", seed, d)
		}
		if seed == 0 && len(trains) == len(in) {
			t.Error("nothing was joined")
		}
	}
}

func TestAPartialChecksumIsFinished(t *testing.T) {
	want := segmentOf(false, 1, 5, flagACK, []byte("hello"))
	p := bytes.Clone(want)
	binary.BigEndian.PutUint16(p[20+16:], fold(pseudo(p, 20)))
	got := cut(t, frameOf(offload{flags: needsChecksum, csumStart: ethLen + 20, csumOffset: 16}, p))
	if d := cmp.Diff([][]byte{want}, got); d != "" {
		t.Error(d)
	}
}

// Only packets from the network to the network leave a port: a container that makes up frames reaches nobody else.
func TestNothingCrossesOver(t *testing.T) {
	s := Segment{Subnet: netip.MustParsePrefix("10.0.1.0/24"), Subnet6: netip.MustParsePrefix("fd00::/64")}
	inside := segmentOf(false, 1, 1, flagACK, nil)
	elsewhere := bytes.Clone(inside)
	elsewhere[18] = 2 // 10.0.2.6
	forged := bytes.Clone(inside)
	forged[14] = 2 // from 10.0.2.5
	for name, c := range map[string]struct {
		frame []byte
		want  bool
	}{
		"inside":        {frameOf(offload{}, inside), true},
		"inside by six": {frameOf(offload{}, segmentOf(true, 1, 1, flagACK, nil)), true},
		"elsewhere":     {frameOf(offload{}, elsewhere), false},
		"forged":        {frameOf(offload{}, forged), false},
		"ARP":           {append(make([]byte, virtioLen+ethLen), 0, 1, 8, 0, 6, 4, 0, 1), false},
		"nothing":       {nil, false},
	} {
		if got := s.passes(c.frame); got != c.want {
			t.Errorf("%s passes: %v", name, got)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add(frameOf(offload{gso: gsoTCPv4, size: 10, csumStart: ethLen + 20}, segmentOf(false, 1, 1, flagACK, make([]byte, 100))))
	f.Add(frameOf(offload{flags: needsChecksum, csumStart: 60000, csumOffset: 16}, segmentOf(true, 1, 1, flagACK, nil)))
	f.Fuzz(func(t *testing.T, frame []byte) {
		bufs, sizes := make([][]byte, 4), make([]int, 4)
		for i := range bufs {
			bufs[i] = make([]byte, 2000)
		}
		n, err := split(frame, bufs, sizes, 16)
		if err == nil && (n < 1 || n > 4) {
			t.Errorf("%d packets", n)
		}
		for i := range n {
			join([][]byte{bufs[i][16 : 16+sizes[i]]})
		}
	})
}
