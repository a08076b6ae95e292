package store

import (
	"encoding/json"
	"fmt"
)

// Entries is the whole view as a log would hold it, in the order of Kinds: written in this
// order to an empty log, they make the same state again.
func (v *View) Entries() ([]Entry, error) {
	var all, claims []Entry
	for _, kind := range Kinds {
		objects, err := v.txn.Get(string(kind), indexID)
		if err != nil {
			return nil, fmt.Errorf("list every %s: %w", kind, err)
		}
		for raw := objects.Next(); raw != nil; raw = objects.Next() {
			o := raw.(Object)
			value, err := json.Marshal(o)
			if err != nil {
				return nil, fmt.Errorf("encode %s %s: %w", kind, o.id(), err)
			}
			all = append(all, Entry{Key: string(kind) + "." + o.id(), Value: value, Seq: o.meta().Version.Index})
			if o.name() != "" {
				claims = append(claims, Entry{Key: claimKey(kind, o.name()), Value: []byte(o.id())})
			}
		}
	}
	return append(all, claims...), nil
}

// Holds is the sequence of the last write of an object's key, 0 if the view has none.
func (v *View) Holds(e Entry) uint64 {
	for _, kind := range Kinds {
		prefix := string(kind) + "."
		if len(e.Key) > len(prefix) && e.Key[:len(prefix)] == prefix {
			if o := get[Object](v, kind, e.Key[len(prefix):]); o != nil {
				return o.meta().Version.Index
			}
		}
	}
	return 0
}

// Load is a view of entries, to read and to change before they are written anywhere.
func Load(entries []Entry) (*View, error) {
	db := emptyDB()
	txn := db.Txn(true)
	defer txn.Abort()
	seq := uint64(0)
	for _, e := range entries {
		if _, err := applyEntry(txn, e); err != nil {
			return nil, fmt.Errorf("read %s: %w", e.Key, err)
		}
		seq = max(seq, e.Seq)
	}
	txn.Commit()
	return newView(db, seq), nil
}
