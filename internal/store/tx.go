package store

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/go-memdb"
)

// Tx is a transaction: a view whose changes others see once it is committed.
// It does no I/O, so decisions written against a Tx are pure.
type Tx struct {
	View
	now     time.Time
	changed map[string]*change // by key
}

type change struct {
	key    string
	kind   Kind
	before Object // as the base view has it
	after  Object // nil: deleted
}

// NewTx begins a transaction on the view. On its own it is a dry run, or a test
// of a decision: only Update commits.
func (v *View) NewTx(now time.Time) *Tx {
	return &Tx{View: View{txn: v.db.Txn(true), db: v.db, seq: v.seq}, now: now, changed: map[string]*change{}}
}

// Now is the time at which the transaction takes place: CreatedAt and UpdatedAt
// of what it writes.
func (tx *Tx) Now() time.Time { return tx.now }

// Put creates or replaces an object. The object belongs to the transaction
// from here on. An object that the view already has is expected to be unchanged
// at commit.
func (tx *Tx) Put(o Object) {
	c := tx.touch(o)
	m := o.meta()
	if c.before == nil {
		m.CreatedAt = tx.now
	} else {
		m.CreatedAt = c.before.meta().CreatedAt
	}
	m.UpdatedAt = tx.now
	c.after = o
	tx.insert(o)
}

// Delete removes an object; one that is not there is no error.
func (tx *Tx) Delete(o Object) {
	c := tx.touch(o)
	c.after = nil
	if err := tx.txn.Delete(string(o.kind()), o); err != nil && err != memdb.ErrNotFound {
		panic(err) // a mistake in the schema
	}
}

// Changes lists what the transaction does, in the order of Kinds and then IDs.
func (tx *Tx) Changes() []Change {
	all := make([]Change, 0, len(tx.changed))
	for _, c := range tx.ordered() {
		if c.before == nil && c.after == nil {
			continue // made and removed within the transaction
		}
		all = append(all, Change{Kind: c.kind, Old: c.before, New: c.after})
	}
	return all
}

func (tx *Tx) touch(o Object) *change {
	key := string(o.kind()) + "." + o.id()
	if c := tx.changed[key]; c != nil {
		return c
	}
	c := &change{key: key, kind: o.kind()}
	if before := get[Object](&tx.View, o.kind(), o.id()); before != nil {
		c.before = before
	}
	tx.changed[key] = c
	return c
}

func (tx *Tx) insert(o Object) {
	if err := tx.txn.Insert(string(o.kind()), o); err != nil {
		panic(err) // a mistake in the schema
	}
}

func (tx *Tx) ordered() []*change {
	all := make([]*change, 0, len(tx.changed))
	for _, c := range tx.changed {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *change) int {
		return cmp.Or(cmp.Compare(slices.Index(Kinds, a.kind), slices.Index(Kinds, b.kind)), cmp.Compare(a.key, b.key))
	})
	return all
}

// ops are the transaction's writes. A unique name is claimed by a key of its
// own, so that two managers cannot both give it away; held has the sequences of
// the claims there are.
func (tx *Tx) ops(held map[string]uint64) ([]Op, error) {
	var ops []Op
	claims := map[string]Op{} // a name let go and taken again is one write
	for _, c := range tx.ordered() {
		if c.before == nil && c.after == nil {
			continue
		}
		op := Op{Key: c.key}
		if c.before != nil {
			op.Expect = c.before.meta().Version.Index
		}
		if c.after != nil {
			value, err := json.Marshal(c.after)
			if err != nil {
				return nil, fmt.Errorf("encode %s: %w", c.key, err)
			}
			op.Value = value
		}
		ops = append(ops, op)
		c.claim(claims, held)
	}
	for _, key := range slices.Sorted(maps.Keys(claims)) {
		ops = append(ops, claims[key])
	}
	return ops, nil
}

func (c *change) claim(claims map[string]Op, held map[string]uint64) {
	var before, after string
	if c.before != nil {
		before = c.before.name()
	}
	if c.after != nil {
		after = c.after.name()
	}
	if before == after {
		return
	}
	if key := claimKey(c.kind, before); before != "" && claims[key].Value == nil {
		claims[key] = Op{Key: key, Expect: held[key]}
	}
	if key := claimKey(c.kind, after); after != "" {
		claims[key] = Op{Key: key, Value: []byte(c.after.id()), Expect: held[key]}
	}
}

// claimPrefix begins the keys by which unique names are claimed.
const claimPrefix = "claim."

func claimKey(kind Kind, name string) string {
	return claimPrefix + string(kind) + "-" + base64.RawURLEncoding.EncodeToString([]byte(name))
}
