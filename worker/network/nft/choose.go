package nft

import (
	"fmt"
	"hash/fnv"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	// slots are how many parts sticky clients are divided into: enough that some tens of tasks get about the same share.
	slots = 256
	// seed makes a client's part the same on every node and after every change: without one the kernel draws another each time.
	seed = 0x6f726368
)

// Choose is an expression that puts one of the addresses into register 1: by chance, or by the sender's address. Of sticky clients
// only those of an address that leaves get another. The addresses must not be empty; the table is that of the rule it is for.
func Choose(c *nftables.Conn, t *nftables.Table, addrs []netip.Addr, sticky bool) ([]expr.Any, error) {
	list := addrs
	if sticky {
		list = Slots(addrs)
	}
	m := &nftables.Set{Table: t, Anonymous: true, Constant: true, IsMap: true, KeyType: nftables.TypeInteger, DataType: nftables.TypeIPAddr}
	elements := make([]nftables.SetElement, len(list))
	for i, a := range list {
		// The generator's number is the machine's, not the network's.
		elements[i] = nftables.SetElement{Key: binaryutil.NativeEndian.PutUint32(uint32(i)), Val: a.AsSlice()}
	}
	if err := AddSet(c, m, elements); err != nil {
		return nil, fmt.Errorf("encode %d addresses: %w", len(addrs), err)
	}
	n := uint32(len(list))
	pick := []expr.Any{&expr.Numgen{Register: 1, Modulus: n, Type: unix.NFT_NG_RANDOM}}
	if sticky {
		pick = []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
			&expr.Hash{SourceRegister: 1, DestRegister: 1, Length: 4, Modulus: n, Seed: seed, Type: expr.HashTypeJenkins},
		}
	}
	return append(pick, &expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: m.Name, SetID: m.ID}), nil
}

// Slots gives each part of the clients one of the addresses, by rendezvous: when one leaves, the others keep theirs.
func Slots(addrs []netip.Addr) []netip.Addr {
	out := make([]netip.Addr, slots)
	for i := range out {
		best := uint64(0)
		for _, a := range addrs {
			if r := rank(i, a); !out[i].IsValid() || r > best {
				out[i], best = a, r
			}
		}
	}
	return out
}

func rank(slot int, a netip.Addr) uint64 {
	h := fnv.New64a()
	h.Write([]byte{byte(slot)})
	h.Write(a.AsSlice())
	x := h.Sum64() // fnv's high bits hardly change with the last byte: mix
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}
