package dispatcher

import (
	"slices"

	"orch/internal/bus"
	"orch/internal/store"
)

// encryption is how encrypted networks travel: by the fastest way that all nodes which can encrypt have in common, so that it
// changes only when machines come or go. The keys' data is filled in when sent.
func (w *world) encryption() *bus.Encryption {
	e := &bus.Encryption{}
	var common []string
	for _, n := range w.view.Nodes(store.All()) {
		switch {
		case len(n.Encryption) == 0:
		case common == nil:
			common = slices.Clone(n.Encryption)
		default:
			common = slices.DeleteFunc(common, func(way string) bool { return !slices.Contains(n.Encryption, way) })
		}
	}
	if len(common) > 0 {
		e.Mode = common[0]
	}
	if c := w.view.Cluster(); c != nil {
		for _, k := range c.NetworkKeys {
			e.Keys = append(e.Keys, bus.NetworkKey{ID: k.ID})
		}
	}
	return e
}

// withKeys is an encrypted network as it is sent.
func (d *Dispatcher) withKeys(n bus.Network) bus.Network {
	c := d.Store.View().Cluster()
	if n.Encryption == nil || c == nil {
		return n
	}
	e := bus.Encryption{Mode: n.Encryption.Mode}
	for _, k := range c.NetworkKeys {
		data, err := d.OpenKey(k)
		if err != nil {
			d.Log.Error("a key of the encrypted networks cannot be unsealed", "key", k.ID, "error", err)
			continue
		}
		e.Keys = append(e.Keys, bus.NetworkKey{ID: k.ID, Data: data})
	}
	n.Encryption = &e
	return n
}

func keysChanged(c store.Change) bool {
	if c.Old == nil || c.New == nil {
		return true
	}
	same := func(a, b store.NetworkKey) bool { return a.ID == b.ID }
	return !slices.EqualFunc(c.Old.(*store.Cluster).NetworkKeys, c.New.(*store.Cluster).NetworkKeys, same)
}
